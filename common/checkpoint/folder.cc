#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/checkpoint/checkpoint_parts.h"
#include "common/checkpoint/key_rules.h"
#include "common/checkpoint/part_files.h"
#include "common/checkpoint/shapes.h"

namespace neolog::checkpoint_internal {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

void AddProblem(const absl::Status& status, Problems* problems) {
  if (!status.ok()) problems->push_back(std::string(status.message()));
}

// Single models in a folder, for advice.
std::vector<std::string> SingleFilesIn(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".safetensors" || ending == ".ckpt" || ending == ".pt")
      names.push_back(fmt::format("'{}'", entry.path().filename().string()));
  }
  std::sort(names.begin(), names.end());
  if (names.size() > 5) names.resize(5);
  return names;
}

class FolderReader {
 public:
  FolderReader(Checkpoint* checkpoint, Problems* problems)
      : c_(*checkpoint), root_(checkpoint->path), problems_(problems) {}

  // The file's text, which then belongs to the model.
  absl::StatusOr<std::string> Text(const std::string& name) {
    const std::string path = (root_ / name).string();
    std::error_code error;
    if (!fs::exists(path, error)) return NotFound(fmt::format("'{}' is missing", path));
    c_.files.push_back({name, path});
    return ReadSmallFile(path);
  }
  std::string PathOf(const std::string& name) const { return (root_ / name).string(); }

  // A configuration; a problem and the default when there is none.
  template <typename Config>
  Config Parse(const std::string& name,
               absl::StatusOr<Config> (*parse)(const std::string&, const std::string&)) {
    const auto text = Text(name);
    absl::StatusOr<Config> config = text.ok() ? parse(*text, PathOf(name)) : text.status();
    AddProblem(config.status(), problems_);
    return config.ok() ? *std::move(config) : Config();
  }

  // False, and problems, when the folder is no model that can be read.
  bool ReadIndex() {
    std::error_code error;
    if (!fs::exists(root_ / "model_index.json", error)) {
      const auto single = SingleFilesIn(root_);
      std::string advice = ": expected a diffusers folder, or a single file";
      if (!single.empty()) advice = fmt::format("; give a file in it: {}", fmt::join(single, ", "));
      if (fs::exists(root_ / "config.json", error))
        advice = ": it is one part of a model; give the folder above it";
      problems_->push_back(fmt::format(
          "'{}' is not a diffusers folder: model_index.json is missing{}", c_.path, advice));
      return false;
    }
    const auto text = Text("model_index.json");
    const Json index = Json::parse(text.ok() ? *text : "", nullptr, /*allow_exceptions=*/false);
    if (!text.ok() || !index.is_object()) {
      problems_->push_back(
          fmt::format("'{}': it is not a JSON object", PathOf("model_index.json")));
      return false;
    }
    const std::string pipeline = index.contains("_class_name") && index["_class_name"].is_string()
                                     ? index["_class_name"].get<std::string>()
                                     : std::string("none");
    if (!pipeline.starts_with("StableDiffusion") || pipeline.starts_with("StableDiffusion3")) {
      problems_->push_back(fmt::format(
          "'{}': '_class_name' is {}; supported: StableDiffusionPipeline (SD 1.x and 2.x) and "
          "StableDiffusionXLPipeline",
          PathOf("model_index.json"), pipeline));
      return false;
    }
    if (pipeline.starts_with("StableDiffusionXL")) {
      c_.family = ModelFamily::kSdxl;
      if (!fs::is_directory(root_ / "text_encoder", error) &&
          fs::is_directory(root_ / "text_encoder_2", error)) {
        problems_->push_back(
            fmt::format("'{}' is an SDXL refiner, which has no first text encoder; give the base "
                        "model",
                        c_.path));
        return false;
      }
    }
    return true;
  }

  CheckpointPart ReadPart(const std::string& name, const std::vector<std::string>& stems,
                          const KeyRules& rules) {
    CheckpointPart part{name, {}};
    const auto files = FindPartFiles(PathOf(name), stems);
    AddProblem(files.status(), problems_);
    if (!files.ok()) return part;
    for (const std::string& path : files->paths)
      c_.files.push_back({name + "/" + fs::path(path).filename().string(), path});
    const auto table = OpenPartFiles(*files);
    AddProblem(table.status(), problems_);
    if (!table.ok()) return part;
    std::vector<std::string> unknown;
    auto weights = RenameAll(*table, "", rules, KeyLayout(), &unknown);
    AddProblem(weights.status(), problems_);
    if (weights.ok()) part.weights = *std::move(weights);
    NoteUnused(unknown, PathOf(name), &c_);
    return part;
  }

  void ReadTokenizer(const std::string& name, ClipConfig* clip) {
    TokenizerSource source;
    std::error_code error;
    const fs::path folder = root_ / name;
    source.folder = folder.string();
    if (fs::exists(folder / "vocab.json", error) && fs::exists(folder / "merges.txt", error)) {
      source.kind = TokenizerSource::Kind::kFolder;
      ReadSpecialTokens(folder / "vocab.json", clip);
    }
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string ending = entry.path().extension().string();
      if (ending == ".json" || ending == ".txt")
        c_.files.push_back({name + "/" + entry.path().filename().string(), entry.path().string()});
    }
    c_.tokenizers.push_back(source);
  }

 private:
  // The tokenizer's own start and end token, which text_encoder/config.json of old checkpoints does
  // not tell.
  void ReadSpecialTokens(const fs::path& vocab, ClipConfig* clip) {
    const auto text = ReadSmallFile(vocab.string());
    AddProblem(text.status(), problems_);
    if (!text.ok()) return;
    const Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
    for (auto [token, id] : {std::pair("<|startoftext|>", &clip->bos_token_id),
                             std::pair("<|endoftext|>", &clip->eos_token_id)}) {
      const auto it = json.is_object() ? json.find(token) : json.end();
      if (!json.is_object() || it == json.end() || !it->is_number_integer() ||
          it->get<int64_t>() < 0 || it->get<int64_t>() >= clip->vocab_size) {
        problems_->push_back(fmt::format("'{}': \"{}\" has no id below the vocabulary's {}",
                                         vocab.string(), token, clip->vocab_size));
        return;
      }
      *id = it->get<int64_t>();
    }
  }

  Checkpoint& c_;
  fs::path root_;
  Problems* problems_;
};

}  // namespace

void ReadFolder(const CheckpointOptions& options, Checkpoint* c, Problems* problems) {
  FolderReader reader(c, problems);
  if (!reader.ReadIndex()) return;
  std::vector<std::string> encoders = {"text_encoder"};
  if (c->family == ModelFamily::kSdxl) encoders.push_back("text_encoder_2");
  const size_t before = problems->size();
  for (const std::string& name : encoders)
    c->clips.push_back(reader.Parse(name + "/config.json", &ParseClipConfig));
  // The pooled output of SDXL is the second encoder's; whoever else has one does not use it.
  c->clips[0].projection_dim = 0;
  c->unet = reader.Parse("unet/config.json", &ParseUNetConfig);
  c->vae = reader.Parse("vae/config.json", &ParseVaeConfig);
  c->scheduler = reader.Parse("scheduler/scheduler_config.json", &ParseSchedulerConfig);
  const bool configured = problems->size() == before;
  if (configured) CheckConfigs(*c, problems);

  for (const std::string& name : encoders)
    c->text_encoders.push_back(reader.ReadPart(name, {"model", "pytorch_model"}, ClipRules()));
  c->unet_weights = reader.ReadPart("unet", {"diffusion_pytorch_model"}, DiffusersUNetRules());
  c->vae_weights = reader.ReadPart("vae", {"diffusion_pytorch_model"}, DiffusersVaeRules());
  if (!configured) return;
  for (size_t i = 0; i < encoders.size(); ++i)
    reader.ReadTokenizer(i == 0 ? "tokenizer" : "tokenizer_2", &c->clips[i]);
  // Weights can only be compared with what is asked for when they could be read.
  if (problems->size() == before) {
    for (size_t i = 0; i < encoders.size(); ++i)
      FitPart(ClipShapes(c->clips[i]), &c->text_encoders[i], c, problems);
    FitPart(UNetShapes(c->unet), &c->unet_weights, c, problems);
    FitPart(VaeShapes(c->vae), &c->vae_weights, c, problems);
  }

  if (c->family != ModelFamily::kSdxl && c->unet.use_linear_projection)
    c->family = ModelFamily::kSd2;
  ModelHints hints;
  hints.v_prediction = c->scheduler.v_prediction;
  hints.v_prediction_source =
      fmt::format("'{}' says so", reader.PathOf("scheduler/scheduler_config.json"));
  hints.image_size = c->unet.sample_size * c->vae.Factor();
  Decide(options, hints, c);
}

}  // namespace neolog::checkpoint_internal
