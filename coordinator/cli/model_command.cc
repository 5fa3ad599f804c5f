#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/memory_estimate.h"
#include "common/checkpoint/summary.h"
#include "common/storage/model_fingerprint.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/state_dir.h"

namespace neolog::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Size(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  return value < 1e8 ? fmt::format("{:.1f} MB", value / 1e6)
                     : fmt::format("{:.2f} GB", value / 1e9);
}

std::string Millions(int64_t count) {
  return count < 10'000'000 ? fmt::format("{:.2f} M", static_cast<double>(count) / 1e6)
                            : fmt::format("{:.0f} M", static_cast<double>(count) / 1e6);
}

std::vector<int64_t> TextWidths(const Checkpoint& model) {
  std::vector<int64_t> widths;
  for (const ClipConfig& clip : model.clips) widths.push_back(clip.hidden_size);
  return widths;
}

Json ToJson(const Checkpoint& model, const std::optional<ModelHashes>& hashes, int64_t side) {
  Json json;
  json["path"] = model.path;
  json["singleFile"] = model.single_file;
  json["family"] = NameOf(model.family);
  json["prediction"] = {{"type", model.v_prediction ? "v_prediction" : "epsilon"},
                        {"guessed", model.prediction_guessed},
                        {"reason", model.prediction_reason}};
  json["image"] = {{"side", model.image_size}, {"guessed", model.image_size_guessed}};
  json["latents"] = {{"side", model.unet.sample_size},
                     {"channels", model.vae.latent_channels},
                     {"pixels", model.vae.Factor()},
                     {"scalingFactor", model.vae.scaling_factor}};
  json["textEncoders"] = Json::array();
  for (const ClipConfig& clip : model.clips) {
    json["textEncoders"].push_back({{"width", clip.hidden_size},
                                    {"layers", clip.num_hidden_layers},
                                    {"heads", clip.num_attention_heads},
                                    {"positions", clip.max_position_embeddings},
                                    {"tokens", clip.vocab_size}});
  }
  json["unet"] = {{"channels", model.unet.block_out_channels},
                  {"heads", model.unet.num_attention_heads},
                  {"textWidth", model.unet.cross_attention_dim}};
  json["parts"] = Json::array();
  for (const PartSummary& part : SummariseParts(model)) {
    json["parts"].push_back({{"name", part.name},
                             {"parameters", part.parameters},
                             {"bytes", part.bytes},
                             {"types", part.types}});
  }
  json["embeddingWidths"] = TextWidths(model);
  json["memoryEstimate"]["side"] = side;
  for (const char* precision : {"fp32", "bf16", "fp16"}) {
    const MemoryEstimate memory = EstimateMemory(model, {.precision = precision, .side = side});
    json["memoryEstimate"][precision] = {
        {"weights", memory.weights}, {"perSample", memory.per_sample}, {"program", memory.program}};
  }
  json["hashes"] = nullptr;
  if (hashes) {
    json["hashes"] = {
        {"sha256", hashes->sha256}, {"short", hashes->short_hash}, {"old", hashes->old_hash}};
  }
  json["files"] = Json::array();
  for (const ModelFile& file : model.files) json["files"].push_back(file.name);
  json["warnings"] = model.notes;
  return json;
}

std::string ToText(const Checkpoint& model, const std::optional<ModelHashes>& hashes,
                   int64_t side) {
  std::vector<std::vector<std::string>> rows;
  const auto row = [&](std::string name, std::string text) {
    rows.push_back({std::move(name), std::move(text)});
  };
  row("model",
      fmt::format("{} ({})", model.path, model.single_file ? "a single file" : "a folder"));
  row("family", std::string(NameOf(model.family)));
  row("predicts",
      fmt::format("{}{}: {}", model.v_prediction ? "velocity" : "noise",
                  model.prediction_guessed ? " (a guess)" : "", model.prediction_reason));
  row("pictures",
      fmt::format("{} pixels{}, latents {} x {} x {}", model.image_size,
                  model.image_size_guessed ? " (as others of its family)" : "",
                  model.unet.sample_size, model.unet.sample_size, model.vae.latent_channels));
  const auto widths = TextWidths(model);
  row("embeddings", fmt::format("made for {}: vectors of {} floats", NameOf(model.family),
                                fmt::join(widths, " and ")));
  for (const ClipConfig& clip : model.clips) {
    row("text", fmt::format("{} layers of width {}, {} heads, {} positions, {} tokens",
                            clip.num_hidden_layers, clip.hidden_size, clip.num_attention_heads,
                            clip.max_position_embeddings, clip.vocab_size));
  }
  row("UNet", fmt::format("channels {}, heads {}", fmt::join(model.unet.block_out_channels, ", "),
                          fmt::join(model.unet.num_attention_heads, ", ")));
  for (const PartSummary& part : SummariseParts(model)) {
    std::vector<std::string> types;
    for (const auto& [type, count] : part.types) types.push_back(type);
    row(part.name, fmt::format("{} parameters, {}, {}", Millions(part.parameters), Size(part.bytes),
                               fmt::join(types, " and ")));
  }
  for (const char* precision : {"fp32", "bf16", "fp16"}) {
    const MemoryEstimate memory = EstimateMemory(model, {.precision = precision, .side = side});
    row(fmt::format("in {}", precision),
        fmt::format("about {} to train on {} pixels, one sample at a time: weights {}, and {} a "
                    "sample",
                    Size(memory.Total(1)), side, Size(memory.weights), Size(memory.per_sample)));
  }
  if (hashes) {
    row("hash", fmt::format("{} (sha256 {}; before 2023: {})", hashes->short_hash, hashes->sha256,
                            hashes->old_hash));
  }
  return FormatTable(rows);
}

}  // namespace

ExitCode ModelInfoCommand(Context& context, const ModelInfoOptions& options) {
  CheckpointOptions how{.vae_path = options.vae};
  if (!options.prediction.empty()) how.v_prediction = options.prediction == "v_prediction";
  std::vector<std::string> problems;
  const Checkpoint model = InspectCheckpoint(options.path, how, &problems);
  for (const std::string& problem : problems) context.console->Error(problem);
  if (!problems.empty()) return kExitUsage;
  std::optional<ModelHashes> hashes;
  if (model.single_file && options.hashes) {
    std::string cache;
    if (const auto dir = ResolveStateDir(context.env); dir.ok() && PrepareStateDir(*dir).ok())
      cache = dir->Fingerprints();
    auto found = HashesAsA1111(model.path, cache);
    if (!found.ok()) return Fail(context, found.status(), kExitUsage);
    hashes = *std::move(found);
  }
  const int64_t side = options.resolution != 0 ? options.resolution : model.image_size;
  if (options.json) {
    context.console->Print(ToJson(model, hashes, side).dump(2) + "\n");
    return kExitOk;
  }
  context.console->Print(ToText(model, hashes, side));
  for (const std::string& note : model.notes) context.console->Warn(note);
  return kExitOk;
}

}  // namespace neolog::cli
