#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>

#include "common/checkpoint/checkpoint_parts.h"
#include "common/checkpoint/key_rules.h"
#include "common/checkpoint/part_files.h"
#include "common/checkpoint/recognise.h"
#include "common/checkpoint/shapes.h"

namespace neolog::checkpoint_internal {
namespace {

namespace fs = std::filesystem;

constexpr char kUNetPrefix[] = "model.diffusion_model.";
constexpr int64_t kSizesOfPicture = 6;       // that SDXL is conditioned on
constexpr int64_t kPublishedSd2Layers = 23;  // of SD 2's text encoder, without the unused last

constexpr int64_t kSd1Heads = 8;
constexpr int64_t kHeadChannels = 64;  // of SD 2 and SDXL

// Where the text encoders of a family lie, the first place that has keys counts.
struct EncoderPlace {
  ModelFamily family;
  size_t encoder;
  const char* prefix;
  const KeyRules& (*rules)();
};
constexpr EncoderPlace kEncoderPlaces[] = {
    {ModelFamily::kSdxl, 0, "conditioner.embedders.0.transformer.", &ClipRules},
    {ModelFamily::kSdxl, 1, "conditioner.embedders.1.model.", &OpenClipRules},
    {ModelFamily::kSd2, 0, "cond_stage_model.model.", &OpenClipRules},
    {ModelFamily::kSd1, 0, "cond_stage_model.transformer.", &ClipRules},
};

// What training left in a file and no model computes with.
constexpr const char* kLeftovers[] = {
    "model_ema.",
    "alphas_cumprod",
    "betas",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "logvar",
    "lvlb_weights",
    "scale_factor",
    "denoiser.",
    "optimizer",
    "lr_schedulers",
    "loops.",
    "callbacks",
    "global_step",
    "epoch",
    "first_stage_model.loss.",
    "model.lvlb",
    "v_pred",
    "ztsnr",
    "cond_stage_model.logit_scale",
    "cond_stage_model.model.logit_scale",
    "cond_stage_model.model.attn_mask",
    "conditioner.embedders.1.model.logit_scale",
    "conditioner.embedders.1.model.attn_mask",
};

bool AnyBegins(const WeightTable& table, std::string_view prefix) {
  const auto it = table.lower_bound(std::string(prefix));
  return it != table.end() && it->first.starts_with(prefix);
}

bool IsLeftover(const std::string& key) {
  return key.ends_with("position_ids") ||
         std::any_of(std::begin(kLeftovers), std::end(kLeftovers),
                     [&](const char* prefix) { return key.starts_with(prefix); });
}

class SingleFileReader {
 public:
  SingleFileReader(Checkpoint* checkpoint, Problems* problems)
      : c_(*checkpoint), problems_(problems) {}

  void Read(const CheckpointOptions& options) {
    auto file = TensorFile::Open(c_.path);
    if (!file.ok()) return Problem(file.status());
    const std::shared_ptr<const TensorFile> shared = *std::move(file);
    table_ = TableOf(shared);
    if (const auto other = DescribeOther(table_)) {
      problems_->push_back(fmt::format("'{}' is {}", c_.path, *other));
      return;
    }
    c_.files.push_back({fs::path(c_.path).filename().string(), c_.path});
    if (!ReadHints(shared->metadata())) return;
    ReadTextEncoders();
    ReadUNet();
    ReadVae(options);
    if (c_.clips.empty()) return;
    Decide(options, hints_, &c_);
    Schedule();
    NoteLeftovers();
  }

 private:
  void Problem(const absl::Status& status) { problems_->push_back(std::string(status.message())); }
  std::string Where(std::string_view part) const { return fmt::format("'{}' {}", c_.path, part); }

  bool ReadHints(const std::map<std::string, std::string>& metadata) {
    const fs::path yaml = fs::path(c_.path).replace_extension(".yaml");
    std::error_code error;
    if (fs::exists(yaml, error)) {
      const auto text = ReadSmallFile(yaml.string());
      const auto hints = text.ok() ? HintsOfYaml(*text, yaml.string()) : text.status();
      if (!hints.ok()) {
        Problem(hints.status());
        return false;
      }
      hints_ = *hints;
      c_.files.push_back({yaml.filename().string(), yaml.string()});
    }
    hints_ = Merge(hints_, HintsOfFile(metadata, table_));
    return true;
  }

  void ReadTextEncoders() {
    const auto* place =
        std::find_if(std::begin(kEncoderPlaces), std::end(kEncoderPlaces),
                     [&](const EncoderPlace& one) { return AnyBegins(table_, one.prefix); });
    if (place == std::end(kEncoderPlaces)) {
      problems_->push_back(fmt::format(
          "'{}' has no text encoder under a name that is known: no key begins with '{}' "
          "or '{}'",
          c_.path, kEncoderPlaces[3].prefix, kEncoderPlaces[2].prefix));
      return;
    }
    c_.family = place->family;
    for (const EncoderPlace& one : kEncoderPlaces) {
      if (one.family != c_.family) continue;
      const std::string name = one.encoder == 0 ? "text_encoder" : "text_encoder_2";
      auto weights = RenameAll(table_, one.prefix, one.rules(), KeyLayout(), &unknown_);
      if (!weights.ok()) return Problem(weights.status());
      if (weights->empty()) {
        problems_->push_back(fmt::format("{}: no key begins with '{}'", Where(name), one.prefix));
        return;
      }
      auto config = ClipFromWeights(*weights, Where(name));
      if (!config.ok()) return Problem(config.status());
      config->hidden_act = one.rules == &OpenClipRules ? Activation::kGelu : Activation::kQuickGelu;
      if (one.encoder == 0) config->projection_dim = 0;
      if (c_.family == ModelFamily::kSd2) DropLastLayer(&*config, &*weights);
      CheckpointPart part{name, *std::move(weights)};
      FitPart(ClipShapes(*config), &part, &c_, problems_);
      c_.clips.push_back(*config);
      c_.text_encoders.push_back(std::move(part));
      c_.tokenizers.push_back({TokenizerSource::Kind::kClip, "", one.rules != &OpenClipRules});
    }
  }

  // SD 2 is conditioned on what the last but one of 24 layers gives; diffusers keeps 23. Files that
  // were converted from diffusers have 23 to begin with.
  static void DropLastLayer(ClipConfig* config, WeightTable* weights) {
    if (config->num_hidden_layers == kPublishedSd2Layers || config->num_hidden_layers < 2) return;
    const std::string last =
        fmt::format("text_model.encoder.layers.{}.", --config->num_hidden_layers);
    std::erase_if(*weights, [&](const auto& entry) { return entry.first.starts_with(last); });
  }

  void ReadUNet() {
    const KeyLayout layout = LayoutOf(table_, kUNetPrefix, "");
    auto weights = RenameAll(table_, kUNetPrefix, OriginalUNetRules(), layout, &unknown_);
    if (!weights.ok()) return Problem(weights.status());
    auto config = UNetFromWeights(*weights, Where("unet"));
    if (!config.ok()) return Problem(config.status());
    const bool first = c_.family == ModelFamily::kSd1;
    config->use_linear_projection = hints_.linear_projection.value_or(!first);
    for (const int64_t width : config->block_out_channels) {
      const std::optional<int64_t> head_channels = hints_.head_channels ? hints_.head_channels
                                                   : first              ? std::nullopt
                                                           : std::optional<int64_t>(kHeadChannels);
      int64_t heads = hints_.heads.value_or(kSd1Heads);
      if (!hints_.heads && head_channels) {
        heads = width % *head_channels == 0 ? width / *head_channels : 0;
      }
      if (heads < 1 || width % heads != 0) {
        problems_->push_back(fmt::format(
            "{}: {} channels cannot be cut into attention heads ({}); sizes other than the "
            "published ones need the model's .yaml beside the file",
            Where("unet"), width,
            !hints_.heads && head_channels ? fmt::format("{} channels each", *head_channels)
                                           : fmt::format("{} of them", heads)));
        return;
      }
      config->num_attention_heads.push_back(heads);
    }
    if (config->projection_class_embeddings_input_dim > 0 && c_.clips.size() == 2) {
      const int64_t sizes =
          config->projection_class_embeddings_input_dim - c_.clips[1].projection_dim;
      config->addition_time_embed_dim = std::max<int64_t>(sizes / kSizesOfPicture, 0);
    }
    c_.unet = *config;
    c_.unet_weights = {"unet", *std::move(weights)};
    FitPart(UNetShapes(c_.unet), &c_.unet_weights, &c_, problems_);
  }

  void ReadVae(const CheckpointOptions& options) {
    if (!options.vae_path.empty()) return;  // it is replaced
    absl::StatusOr<WeightTable> weights = WeightTable();
    for (const char* prefix : {"first_stage_model.", "vae."}) {
      weights = VaeBelow(table_, prefix, &unknown_);
      if (!weights.ok()) return Problem(weights.status());
      if (!weights->empty()) break;
    }
    if (weights->empty()) {
      problems_->push_back(
          fmt::format("'{}' has no VAE (no key begins with 'first_stage_model.'): give one beside "
                      "the model",
                      c_.path));
      return;
    }
    auto config = VaeFromWeights(*weights, Where("vae"));
    if (!config.ok()) return Problem(config.status());
    config->scaling_factor = hints_.scaling_factor.value_or(ScalingFactorOf(c_.family));
    c_.vae = *config;
    c_.vae_weights = {"vae", *std::move(weights)};
    FitPart(VaeShapes(c_.vae), &c_.vae_weights, &c_, problems_);
  }

  void Schedule() {
    NoiseScheduleConfig& schedule = c_.scheduler.noise_schedule;
    schedule.beta_start = hints_.beta_start.value_or(schedule.beta_start);
    schedule.beta_end = hints_.beta_end.value_or(schedule.beta_end);
    schedule.num_train_timesteps = hints_.timesteps.value_or(schedule.num_train_timesteps);
  }

  void NoteLeftovers() {
    if (AnyBegins(table_, "model_ema.")) {
      c_.notes.push_back(
          "the file has averaged (EMA) weights beside the trained ones; the trained ones are used");
    }
    if (table_.count("ztsnr") != 0) {
      c_.notes.push_back(
          "the file is marked 'ztsnr' (its noise schedule ends at zero signal), which is not "
          "supported: the ordinary schedule is used");
    }
    // Keys outside of every part.
    for (const auto& [key, source] : table_) {
      bool known = key.starts_with(kUNetPrefix) || key.starts_with("first_stage_model.") ||
                   key.starts_with("vae.");
      for (const EncoderPlace& place : kEncoderPlaces)
        known = known || (place.family == c_.family && key.starts_with(place.prefix));
      if (!known) unknown_.push_back(key);
    }
    std::erase_if(unknown_, IsLeftover);
    NoteUnused(unknown_, c_.path, &c_);
  }

  Checkpoint& c_;
  Problems* problems_;
  WeightTable table_;
  ModelHints hints_;
  std::vector<std::string> unknown_;
};

}  // namespace

void ReadSingleFile(const CheckpointOptions& options, Checkpoint* c, Problems* problems) {
  SingleFileReader(c, problems).Read(options);
}

}  // namespace neolog::checkpoint_internal
