#include "common/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "common/checkpoint/checkpoint_parts.h"
#include "common/checkpoint/hub_cache.h"
#include "common/checkpoint/key_rules.h"
#include "common/checkpoint/part_files.h"
#include "common/checkpoint/recognise.h"
#include "common/checkpoint/shapes.h"

namespace neolog {
namespace {

namespace fs = std::filesystem;
using checkpoint_internal::Problems;

constexpr int64_t kTimeIds = 6;  // sizes that SDXL is conditioned on

// A folder or file, or a hub name's snapshot. An absolute path below a folder that does not exist
// is looked for by its last two names.
absl::StatusOr<std::string> Resolve(const std::string& path, const CheckpointOptions& options) {
  std::error_code error;
  if (fs::exists(path, error)) return path;
  // A name in a YAML file has become an absolute path, below a folder that is not there.
  std::string name = path;
  const fs::path parent = fs::path(path).parent_path();
  if (!parent.empty() && !fs::exists(parent, error))
    name = (parent.filename() / fs::path(path).filename()).string();
  if (IsHubName(name)) {
    auto found =
        FindInHubCache(name, options.hub_cache.empty() ? HubCacheFolder() : options.hub_cache);
    if (found.ok() || name == path) return found;
  }
  return NotFound(fmt::format(
      "there is no model '{}'; expected a diffusers folder (with model_index.json, unet/, vae/, "
      "text_encoder/ and tokenizer/), a single file (.safetensors, .ckpt) or the name of a model "
      "in the hub's cache (owner/name)",
      path));
}

}  // namespace

std::string_view NameOf(ModelFamily family) {
  switch (family) {
    case ModelFamily::kSd1: return "SD 1.x";
    case ModelFamily::kSd2: return "SD 2.x";
    case ModelFamily::kSdxl: return "SDXL";
  }
  return "";
}

Checkpoint InspectCheckpoint(const std::string& path, const CheckpointOptions& options,
                             std::vector<std::string>* problems) {
  Checkpoint checkpoint;
  checkpoint.path = path;
  const size_t before = problems->size();
  const auto found = Resolve(path, options);
  if (!found.ok()) {
    problems->push_back(std::string(found.status().message()));
    return checkpoint;
  }
  checkpoint.path = *found;
  std::error_code error;
  checkpoint.single_file = !fs::is_directory(checkpoint.path, error);
  if (checkpoint.single_file) {
    checkpoint_internal::ReadSingleFile(options, &checkpoint, problems);
  } else {
    checkpoint_internal::ReadFolder(options, &checkpoint, problems);
  }
  if (!options.vae_path.empty() && problems->size() == before)
    checkpoint_internal::ReplaceVae(options.vae_path, &checkpoint, problems);
  // A folder's own were compared before its weights were.
  if (problems->size() == before && (checkpoint.single_file || !options.vae_path.empty()))
    checkpoint_internal::CheckConfigs(checkpoint, problems);
  if (problems->size() == before) {
    const int64_t factor = checkpoint.vae.Factor();
    if (options.image_size % factor != 0) {
      problems->push_back(fmt::format("an image size of {} pixels is no multiple of {}",
                                      options.image_size, factor));
    }
    checkpoint.unet.sample_size = checkpoint.image_size / factor;
    checkpoint.scheduler.v_prediction = checkpoint.v_prediction;
  }
  std::sort(checkpoint.files.begin(), checkpoint.files.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return checkpoint;
}

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path,
                                          const CheckpointOptions& options) {
  RETURN_IF_ERROR(Resolve(path, options));
  Problems problems;
  Checkpoint checkpoint = InspectCheckpoint(path, options, &problems);
  if (problems.empty()) return checkpoint;
  return InvalidArgument(fmt::format("{}", fmt::join(problems, "; ")));
}

namespace checkpoint_internal {

void CheckConfigs(const Checkpoint& c, Problems* problems) {
  // A configuration of a few bytes must not ask for millions of weights.
  constexpr int64_t kMostBlocks = 4096;  // SDXL has 75
  int64_t blocks = 0;
  for (size_t i = 0; i < c.unet.layers_per_block.size(); ++i)
    blocks += (2 * c.unet.layers_per_block[i] + 1) * c.unet.transformer_layers_per_block[i];
  if (blocks > kMostBlocks) {
    problems->push_back(fmt::format("'{}': the UNet has {} blocks; expected at most {}", c.path,
                                    blocks, kMostBlocks));
    return;
  }
  if (c.unet.in_channels != c.vae.latent_channels && c.unet.in_channels != 4) {
    problems->push_back(
        fmt::format("'{}' is {}; supported: text-to-image models, whose UNet takes the VAE's {} "
                    "channels",
                    c.path, DescribeInputChannels(c.unet.in_channels), c.vae.latent_channels));
    return;
  }
  if (c.unet.in_channels != c.vae.latent_channels || c.unet.out_channels != c.vae.latent_channels) {
    problems->push_back(fmt::format(
        "'{}': the UNet's 'in_channels' is {} and its 'out_channels' is {}, but the VAE has {} "
        "'latent_channels'",
        c.path, c.unet.in_channels, c.unet.out_channels, c.vae.latent_channels));
  }
  int64_t hidden = 0;
  for (const ClipConfig& clip : c.clips) hidden += clip.hidden_size;
  if (c.unet.cross_attention_dim != hidden) {
    problems->push_back(fmt::format(
        "'{}': the UNet's 'cross_attention_dim' is {}, but the text encoder's 'hidden_size' is {}",
        c.path, c.unet.cross_attention_dim, hidden));
  }
  for (const ClipConfig& clip : c.clips) {
    if (clip.vocab_size != c.clips[0].vocab_size ||
        clip.max_position_embeddings != c.clips[0].max_position_embeddings) {
      problems->push_back(fmt::format(
          "'{}': the two text encoders differ in vocabulary or positions ({} and {}, {} and {})",
          c.path, c.clips[0].vocab_size, clip.vocab_size, c.clips[0].max_position_embeddings,
          clip.max_position_embeddings));
    }
  }
  const int64_t sizes = kTimeIds * c.unet.addition_time_embed_dim;
  const int64_t pooled = c.clips.size() > 1 ? c.clips.back().projection_dim : 0;
  if (c.clips.size() > 1 && pooled == 0) {
    problems->push_back(
        fmt::format("'{}': the second text encoder has no pooled output; expected a "
                    "CLIPTextModelWithProjection",
                    c.path));
    return;
  }
  if (c.unet.projection_class_embeddings_input_dim != (pooled == 0 ? 0 : pooled + sizes)) {
    problems->push_back(fmt::format(
        "'{}': the UNet's 'projection_class_embeddings_input_dim' is {}, but the text encoders and "
        "{} sizes of width {} give {}",
        c.path, c.unet.projection_class_embeddings_input_dim, kTimeIds,
        c.unet.addition_time_embed_dim, pooled == 0 ? 0 : pooled + sizes));
  }
}

double ScalingFactorOf(ModelFamily family) {
  return family == ModelFamily::kSdxl ? 0.13025 : 0.18215;
}

void NoteUnused(const std::vector<std::string>& keys, const std::string& where,
                Checkpoint* checkpoint) {
  if (keys.empty()) return;
  checkpoint->notes.push_back(fmt::format("{} of the weights in '{}' are not used: {}", keys.size(),
                                          where, SummariseKeys(keys)));
}

void FitPart(const Shapes& shapes, CheckpointPart* part, Checkpoint* checkpoint,
             Problems* problems) {
  const std::string where = fmt::format("'{}' {}", checkpoint->path, part->name);
  std::vector<std::string> unexpected;
  for (std::string& problem : FitWeights(shapes, where, &part->weights, &unexpected))
    problems->push_back(std::move(problem));
  for (const auto& [key, source] : part->weights) {
    const TensorType type = source.view.type;
    if (type == TensorType::kFloat16 || type == TensorType::kBFloat16 ||
        type == TensorType::kFloat32 || type == TensorType::kFloat64) {
      continue;
    }
    problems->push_back(fmt::format("{}: '{}' has type {}; expected floating-point numbers", where,
                                    source.key, NameOf(type)));
    break;
  }
  // Buffers and outputs that nothing is computed with.
  std::erase_if(unexpected, [](const std::string& key) {
    return key.ends_with("position_ids") || key.ends_with("text_projection") ||
           key.ends_with("text_projection.weight");
  });
  NoteUnused(unexpected, checkpoint->path, checkpoint);
}

void Decide(const CheckpointOptions& options, const ModelHints& hints, Checkpoint* c) {
  if (options.v_prediction) {
    c->v_prediction = *options.v_prediction;
    c->prediction_reason = "it was set";
  } else if (hints.v_prediction) {
    c->v_prediction = *hints.v_prediction;
    c->prediction_reason = hints.v_prediction_source;
  } else if (c->family == ModelFamily::kSd2) {
    c->v_prediction = true;
    c->prediction_guessed = true;
    c->prediction_reason =
        "most SD 2.x models predict velocity, and nothing in the file says what this one does";
    c->notes.push_back(
        "it is a guess that the model predicts velocity: a single SD 2.x file does not say. If its "
        "pictures are noise, set the prediction to epsilon, or put its .yaml beside it");
  } else {
    c->prediction_reason =
        fmt::format("{} models predict noise unless their files say otherwise", NameOf(c->family));
  }
  if (options.image_size > 0) {
    c->image_size = options.image_size;
  } else if (hints.image_size) {
    c->image_size = *hints.image_size;
  } else {
    c->image_size = c->family == ModelFamily::kSdxl                     ? 1024
                    : c->family == ModelFamily::kSd2 && c->v_prediction ? 768
                                                                        : 512;
    c->image_size_guessed = true;
  }
}

absl::StatusOr<WeightTable> VaeBelow(const WeightTable& table, const std::string& prefix,
                                     std::vector<std::string>* unknown) {
  const auto has = [&](const char* key) {
    const auto it = table.lower_bound(prefix + key);
    return it != table.end() && it->first.starts_with(prefix + key);
  };
  if (has("encoder.down_blocks."))
    return RenameAll(table, prefix, DiffusersVaeRules(), KeyLayout(), unknown);
  if (has("encoder.down.") || has("decoder.up."))
    return RenameAll(table, prefix, OriginalVaeRules(), LayoutOf(table, "", prefix), unknown);
  return WeightTable();
}

void ReplaceVae(const std::string& path, Checkpoint* checkpoint, Problems* problems) {
  std::error_code error;
  fs::path config_file;
  PartFiles files;
  if (fs::is_directory(path, error)) {
    fs::path folder = path;
    if (!fs::exists(folder / "config.json", error) && fs::exists(folder / "vae/config.json", error))
      folder /= "vae";
    config_file = folder / "config.json";
    auto found = FindPartFiles(folder.string(), {"diffusion_pytorch_model"});
    if (!found.ok()) return problems->push_back(std::string(found.status().message()));
    files = *std::move(found);
  } else {
    files.paths.push_back(path);
  }
  auto table = OpenPartFiles(files);
  if (!table.ok()) return problems->push_back(std::string(table.status().message()));
  std::vector<std::string> unknown;
  absl::StatusOr<WeightTable> weights = WeightTable();
  for (const char* prefix : {"first_stage_model.", "vae.", ""}) {
    weights = VaeBelow(*table, prefix, &unknown);
    if (!weights.ok() || !weights->empty()) break;
  }
  if (!weights.ok()) return problems->push_back(std::string(weights.status().message()));
  if (weights->empty()) {
    return problems->push_back(
        fmt::format("'{}' is no VAE: no key begins with 'encoder.down_blocks.', 'encoder.down.' or "
                    "'first_stage_model.'",
                    path));
  }
  absl::StatusOr<VaeConfig> config = VaeConfig();
  if (config_file.empty()) {
    config = VaeFromWeights(*weights, fmt::format("'{}'", path));
    if (config.ok()) config->scaling_factor = ScalingFactorOf(checkpoint->family);
  } else {
    const auto text = ReadSmallFile(config_file.string());
    config = text.ok() ? ParseVaeConfig(*text, config_file.string()) : text.status();
  }
  if (!config.ok()) return problems->push_back(std::string(config.status().message()));
  std::erase_if(unknown, [](const std::string& key) {
    return key.find("loss.") != std::string::npos || key.find("model_ema.") != std::string::npos;
  });
  NoteUnused(unknown, path, checkpoint);
  checkpoint->vae = *config;
  checkpoint->vae_weights = {"vae", *std::move(weights)};
  FitPart(VaeShapes(checkpoint->vae), &checkpoint->vae_weights, checkpoint, problems);
  // The model's own VAE makes no difference any more, unless it lies in the one file.
  std::erase_if(checkpoint->files,
                [](const ModelFile& file) { return file.name.starts_with("vae/"); });
  if (!config_file.empty()) files.paths.push_back(config_file.string());
  for (const std::string& file : files.paths) {
    checkpoint->files.push_back({"other_vae/" + fs::path(file).filename().string(), file});
  }
}

}  // namespace checkpoint_internal
}  // namespace neolog
