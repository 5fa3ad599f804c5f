#include "common/checkpoint/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace neolog {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxSize = 1 << 20;  // of any dimension
constexpr int64_t kMaxLayers = 64;     // of any repetition

// Reads keys of one JSON object and collects what is wrong with them.
class Reader {
 public:
  Reader(const std::string& text, std::string name) : name_(std::move(name)) {
    json_ = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json_.is_discarded() || !json_.is_object()) {
      problems_.push_back("it is not a JSON object");
      json_ = Json::object();
      broken_ = true;
    }
  }

  void Error(std::string_view key, std::string_view what) {
    problems_.push_back(fmt::format("'{}' {}", key, what));
  }

  // The value when the key is there and not null.
  const Json* Find(const char* key) const {
    const auto it = json_.find(key);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }

  int64_t Int(const char* key, std::optional<int64_t> fallback, int64_t low = 1,
              int64_t high = kMaxSize) {
    const Json* value = Find(key);
    if (value == nullptr) return Absent(key, fallback, low);
    return IntOf(key, *value, low, high).value_or(low);
  }

  double Number(const char* key, double fallback, double low, double high) {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
      Error(key, fmt::format("is {}; expected a number from {} to {}", value->dump(), low, high));
      return fallback;
    }
    return value->get<double>();
  }

  bool Bool(const char* key, bool fallback) {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) {
      Error(key, fmt::format("is {}; expected true or false", value->dump()));
      return fallback;
    }
    return value->get<bool>();
  }

  std::string Text(const char* key, const std::string& fallback) {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) {
      Error(key, fmt::format("is {}; expected a string", value->dump()));
      return fallback;
    }
    return value->get<std::string>();
  }

  std::vector<std::string> Texts(const char* key, std::vector<std::string> fallback) {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    std::vector<std::string> texts;
    for (const Json& item : *value) {
      if (item.is_string()) texts.push_back(item.get<std::string>());
    }
    if (!value->is_array() || texts.empty() || texts.size() != value->size()) {
      Error(key, "is not a list of strings");
      return fallback;
    }
    return texts;
  }

  // A list of `count` integers; a single integer stands for all of them. count 0: as many as there
  // are.
  std::vector<int64_t> Ints(const char* key, size_t count, std::optional<int64_t> fallback,
                            int64_t high = kMaxSize) {
    const Json* value = Find(key);
    if (value == nullptr) return std::vector<int64_t>(count, Absent(key, fallback, 1));
    if (!value->is_array()) {
      return std::vector<int64_t>(count, IntOf(key, *value, 1, high).value_or(1));
    }
    std::vector<int64_t> ints;
    for (const Json& item : *value) ints.push_back(IntOf(key, item, 1, high).value_or(1));
    if (ints.empty() || ints.size() > static_cast<size_t>(kMaxLayers) ||
        (count != 0 && ints.size() != count)) {
      Error(key, fmt::format("has {} entries; expected {}", ints.size(),
                             count != 0 ? fmt::format("{}, one a block", count)
                                        : fmt::format("1 to {}", kMaxLayers)));
      ints.resize(count != 0 ? count : 1, 1);
    }
    return ints;
  }

  // Keys whose only supported values are the ones given (or absence, or null).
  void Only(const char* key, std::initializer_list<Json> supported) {
    const Json* value = Find(key);
    if (value == nullptr) return;
    for (const Json& one : supported) {
      if (*value == one) return;
    }
    std::vector<std::string> texts;
    for (const Json& one : supported) texts.push_back(one.dump());
    Error(key, fmt::format("is {}; supported: {}", value->dump(),
                           texts.empty() ? "null" : fmt::format("{}", fmt::join(texts, ", "))));
  }

  absl::Status Finish() const {
    if (problems_.empty()) return absl::OkStatus();
    // Everything is missing from what could not be read.
    const size_t shown = broken_ ? 1 : problems_.size();
    return InvalidArgument(fmt::format(
        "'{}': {}", name_, fmt::join(problems_.begin(), problems_.begin() + shown, "; ")));
  }

 private:
  int64_t Absent(const char* key, std::optional<int64_t> fallback, int64_t low) {
    if (!fallback) Error(key, "is missing");
    return fallback.value_or(low);
  }

  std::optional<int64_t> IntOf(const char* key, const Json& value, int64_t low, int64_t high) {
    if (!value.is_number_integer() || value.get<double>() < static_cast<double>(low) ||
        value.get<double>() > static_cast<double>(high)) {
      Error(key, fmt::format("has {}; expected an integer from {} to {}", value.dump(), low, high));
      return std::nullopt;
    }
    return value.get<int64_t>();
  }

  std::string name_;
  Json json_;
  std::vector<std::string> problems_;
  bool broken_ = false;
};

std::vector<bool> CrossAttention(Reader& reader, const char* key,
                                 const std::vector<std::string>& types, const std::string& with,
                                 const std::string& without) {
  std::vector<bool> result;
  for (const std::string& type : types) {
    if (type != with && type != without) {
      reader.Error(key, fmt::format("has \"{}\"; supported: \"{}\", \"{}\"", type, with, without));
    }
    result.push_back(type == with);
  }
  return result;
}

void CheckGroups(Reader& reader, const std::vector<int64_t>& channels, int64_t groups) {
  for (const int64_t c : channels) {
    if (c % groups != 0) {
      reader.Error("block_out_channels",
                   fmt::format("has {}, which norm_num_groups {} does not divide", c, groups));
    }
  }
}

}  // namespace

absl::StatusOr<ClipConfig> ParseClipConfig(const std::string& json, const std::string& name) {
  Reader reader(json, name);
  ClipConfig c;
  reader.Only("model_type", {"clip_text_model"});
  c.vocab_size = reader.Int("vocab_size", c.vocab_size, 2, 1 << 24);
  c.hidden_size = reader.Int("hidden_size", std::nullopt);
  c.intermediate_size = reader.Int("intermediate_size", std::nullopt);
  c.num_hidden_layers = reader.Int("num_hidden_layers", std::nullopt, 1, kMaxLayers);
  c.num_attention_heads = reader.Int("num_attention_heads", std::nullopt);
  c.max_position_embeddings = reader.Int("max_position_embeddings", c.max_position_embeddings);
  c.layer_norm_eps = reader.Number("layer_norm_eps", c.layer_norm_eps, 0, 1);
  reader.Only("hidden_act", {"quick_gelu", "gelu"});
  c.hidden_act = reader.Text("hidden_act", "quick_gelu") == "gelu" ? Activation::kGelu
                                                                   : Activation::kQuickGelu;
  // Checkpoints from before transformers 4.31 say bos 0 and eos 2 whatever the vocabulary; CLIP's
  // are its last two.
  c.bos_token_id = reader.Int("bos_token_id", c.vocab_size - 2, 0, c.vocab_size - 1);
  c.eos_token_id = reader.Int("eos_token_id", c.vocab_size - 1, 0, c.vocab_size - 1);
  if (c.eos_token_id == 2) {
    c.bos_token_id = c.vocab_size - 2;
    c.eos_token_id = c.vocab_size - 1;
  }
  const std::vector<std::string> architectures = reader.Texts("architectures", {"CLIPTextModel"});
  if (architectures.front() == "CLIPTextModelWithProjection")
    c.projection_dim = reader.Int("projection_dim", 512);
  if (c.hidden_size % c.num_attention_heads != 0) {
    reader.Error("hidden_size", fmt::format("is {}, which num_attention_heads {} does not divide",
                                            c.hidden_size, c.num_attention_heads));
  }
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::StatusOr<UNetConfig> ParseUNetConfig(const std::string& json, const std::string& name) {
  Reader reader(json, name);
  UNetConfig c;
  reader.Only("_class_name", {"UNet2DConditionModel"});
  // Parts of UNet2DConditionModel that no SD model has.
  for (const char* key :
       {"class_embed_type", "num_class_embeds", "encoder_hid_dim", "encoder_hid_dim_type",
        "time_cond_proj_dim", "time_embedding_act_fn", "timestep_post_act", "time_embedding_dim",
        "cross_attention_norm", "reverse_transformer_layers_per_block", "num_attention_heads"}) {
    reader.Only(key, {});
  }
  for (const char* key :
       {"center_input_sample", "dual_cross_attention", "only_cross_attention",
        "mid_block_only_cross_attention", "resnet_skip_time_act", "class_embeddings_concat"}) {
    reader.Only(key, {false});
  }
  reader.Only("act_fn", {"silu", "swish"});
  reader.Only("attention_type", {"default"});
  reader.Only("conv_in_kernel", {3});
  reader.Only("conv_out_kernel", {3});
  reader.Only("dropout", {0, 0.0});
  reader.Only("mid_block_scale_factor", {1, 1.0});
  reader.Only("mid_block_type", {"UNetMidBlock2DCrossAttn"});
  reader.Only("resnet_out_scale_factor", {1, 1.0});
  reader.Only("resnet_time_scale_shift", {"default"});
  reader.Only("time_embedding_type", {"positional"});

  c.in_channels = reader.Int("in_channels", c.in_channels);
  c.out_channels = reader.Int("out_channels", c.out_channels);
  c.sample_size = reader.Int("sample_size", c.sample_size);
  const auto down_types = reader.Texts(
      "down_block_types",
      {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"});
  const auto up_types =
      reader.Texts("up_block_types",
                   {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"});
  c.down_cross_attention =
      CrossAttention(reader, "down_block_types", down_types, "CrossAttnDownBlock2D", "DownBlock2D");
  c.up_cross_attention =
      CrossAttention(reader, "up_block_types", up_types, "CrossAttnUpBlock2D", "UpBlock2D");
  const size_t blocks = down_types.size();
  if (blocks > static_cast<size_t>(kMaxLayers))
    reader.Error("down_block_types", "has too many entries");
  if (up_types.size() != blocks) {
    reader.Error("up_block_types",
                 fmt::format("has {} entries; down_block_types has {}", up_types.size(), blocks));
  }
  c.block_out_channels = {320, 640, 1280, 1280};
  if (reader.Find("block_out_channels") != nullptr || blocks != c.block_out_channels.size()) {
    c.block_out_channels = reader.Ints("block_out_channels", blocks, std::nullopt);
  }
  c.layers_per_block = reader.Ints("layers_per_block", blocks, 2, kMaxLayers);
  c.transformer_layers_per_block =
      reader.Ints("transformer_layers_per_block", blocks, 1, kMaxLayers);
  c.num_attention_heads = reader.Ints("attention_head_dim", blocks, 8);
  const std::vector<int64_t> cross = reader.Ints("cross_attention_dim", blocks, 1280);
  c.cross_attention_dim = cross.empty() ? 0 : cross[0];
  for (const int64_t width : cross) {
    if (width != cross[0])
      reader.Error("cross_attention_dim", "differs between blocks; supported: one width");
  }
  c.norm_num_groups = reader.Int("norm_num_groups", c.norm_num_groups);
  c.norm_eps = reader.Number("norm_eps", c.norm_eps, 0, 1);
  c.flip_sin_to_cos = reader.Bool("flip_sin_to_cos", c.flip_sin_to_cos);
  c.freq_shift = reader.Number("freq_shift", c.freq_shift, 0, 1);
  c.downsample_padding = reader.Int("downsample_padding", c.downsample_padding, 0, 1);
  c.use_linear_projection = reader.Bool("use_linear_projection", c.use_linear_projection);
  reader.Only("addition_embed_type", {"text_time"});
  if (reader.Find("addition_embed_type") != nullptr) {
    c.addition_time_embed_dim = reader.Int("addition_time_embed_dim", std::nullopt, 2);
    c.projection_class_embeddings_input_dim =
        reader.Int("projection_class_embeddings_input_dim", std::nullopt);
    if (c.addition_time_embed_dim % 2 != 0)
      reader.Error("addition_time_embed_dim",
                   fmt::format("is {}; expected an even number", c.addition_time_embed_dim));
  }

  CheckGroups(reader, c.block_out_channels, c.norm_num_groups);
  for (size_t i = 0; i < blocks && i < c.block_out_channels.size(); ++i) {
    if (c.block_out_channels[i] % c.num_attention_heads[i] != 0) {
      reader.Error("attention_head_dim",
                   fmt::format("is {} heads, which do not divide the {} channels of block {}",
                               c.num_attention_heads[i], c.block_out_channels[i], i));
    }
  }
  if (!c.block_out_channels.empty() && c.block_out_channels[0] % 2 != 0) {
    reader.Error("block_out_channels", "starts with an odd number of channels");
  }
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::StatusOr<VaeConfig> ParseVaeConfig(const std::string& json, const std::string& name) {
  Reader reader(json, name);
  VaeConfig c;
  reader.Only("_class_name", {"AutoencoderKL"});
  for (const char* key : {"latents_mean", "latents_std", "shift_factor"}) reader.Only(key, {});
  reader.Only("act_fn", {"silu", "swish"});
  c.in_channels = reader.Int("in_channels", c.in_channels);
  c.out_channels = reader.Int("out_channels", c.out_channels);
  c.latent_channels = reader.Int("latent_channels", c.latent_channels);
  c.block_out_channels = reader.Ints("block_out_channels", 0, std::nullopt);
  if (c.block_out_channels.empty())
    c.block_out_channels = {1};  // an integer, or missing: the error is kept
  for (const auto& [key, type] : {std::pair("down_block_types", "DownEncoderBlock2D"),
                                  std::pair("up_block_types", "UpDecoderBlock2D")}) {
    const auto types =
        reader.Texts(key, std::vector<std::string>(c.block_out_channels.size(), type));
    for (const std::string& one : types) {
      if (one != type) reader.Error(key, fmt::format("has \"{}\"; supported: \"{}\"", one, type));
    }
    if (types.size() != c.block_out_channels.size() || types.size() > 16) {
      reader.Error(key, fmt::format("has {} entries; block_out_channels has {}", types.size(),
                                    c.block_out_channels.size()));
    }
  }
  c.layers_per_block = reader.Int("layers_per_block", 1, 1, kMaxLayers);
  c.norm_num_groups = reader.Int("norm_num_groups", c.norm_num_groups);
  c.scaling_factor = reader.Number("scaling_factor", c.scaling_factor, 1e-6, 1e6);
  c.use_quant_conv = reader.Bool("use_quant_conv", c.use_quant_conv);
  c.use_post_quant_conv = reader.Bool("use_post_quant_conv", c.use_post_quant_conv);
  c.mid_block_add_attention = reader.Bool("mid_block_add_attention", c.mid_block_add_attention);
  CheckGroups(reader, c.block_out_channels, c.norm_num_groups);
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

absl::StatusOr<SchedulerConfig> ParseSchedulerConfig(const std::string& json,
                                                     const std::string& name) {
  Reader reader(json, name);
  SchedulerConfig c;
  reader.Only("trained_betas", {});
  reader.Only("rescale_betas_zero_snr", {false});
  reader.Only("beta_schedule", {"linear", "scaled_linear"});
  reader.Only("prediction_type", {"epsilon", "v_prediction"});
  c.v_prediction = reader.Text("prediction_type", "epsilon") == "v_prediction";
  // The defaults are those of diffusers' DDPMScheduler, not of Stable Diffusion.
  c.noise_schedule.beta_schedule = reader.Text("beta_schedule", "linear") == "linear"
                                       ? NoiseScheduleConfig::Betas::kLinear
                                       : NoiseScheduleConfig::Betas::kScaledLinear;
  c.noise_schedule.beta_start = reader.Number("beta_start", 0.0001, 0, 0.999);
  c.noise_schedule.beta_end = reader.Number("beta_end", 0.02, 0, 0.999);
  c.noise_schedule.num_train_timesteps = reader.Int("num_train_timesteps", 1000, 2, 100000);
  if (!(c.noise_schedule.beta_start > 0)) reader.Error("beta_start", "must be above 0");
  if (c.noise_schedule.beta_end < c.noise_schedule.beta_start)
    reader.Error("beta_end", "is below beta_start");
  RETURN_IF_ERROR(reader.Finish());
  return c;
}

}  // namespace neolog
