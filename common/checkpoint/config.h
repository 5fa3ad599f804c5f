#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// How a text encoder's feed-forward layers are activated: gelu(x) with erf, or x·sigmoid(1.702·x).
enum class Activation { kGelu, kQuickGelu };

/// text_encoder/config.json of a CLIP text encoder.
struct ClipConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
  Activation hidden_act = Activation::kQuickGelu;
  int64_t bos_token_id = 0;
  int64_t eos_token_id = 0;
  /// Width of the pooled output (text_projection); 0 when the encoder has none.
  int64_t projection_dim = 0;
};

/// unet/config.json of a UNet2DConditionModel. Per-block values are lists of one entry a down
/// block.
struct UNetConfig {
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  int64_t sample_size = 64;
  std::vector<bool> down_cross_attention;  // CrossAttnDownBlock2D rather than DownBlock2D
  std::vector<bool> up_cross_attention;
  std::vector<int64_t> block_out_channels;
  std::vector<int64_t> layers_per_block;
  std::vector<int64_t> transformer_layers_per_block;
  /// diffusers calls it attention_head_dim, but SD 1 and 2 mean the number of heads.
  std::vector<int64_t> num_attention_heads;
  int64_t cross_attention_dim = 768;
  int64_t norm_num_groups = 32;
  double norm_eps = 1e-5;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  int64_t downsample_padding = 1;
  bool use_linear_projection = false;
  /// SDXL: besides the timestep, the UNet is conditioned on pooled text and on six sizes, each
  /// embedded to this width (addition_embed_type "text_time"); 0: it is not.
  int64_t addition_time_embed_dim = 0;
  /// Width of pooled text and embedded sizes together.
  int64_t projection_class_embeddings_input_dim = 0;
};

/// vae/config.json of an AutoencoderKL.
struct VaeConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels;
  int64_t layers_per_block = 2;
  int64_t norm_num_groups = 32;
  double scaling_factor = 0.18215;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;
  /// Pixels per latent position.
  int64_t Factor() const { return int64_t{1} << (block_out_channels.size() - 1); }
};

/// How noise grows over the training timesteps: betas run from `beta_start` to `beta_end`,
/// linearly, or linearly in their square roots.
struct NoiseScheduleConfig {
  enum class Betas { kLinear, kScaledLinear };
  Betas beta_schedule = Betas::kScaledLinear;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  int64_t num_train_timesteps = 1000;
};

/// scheduler/scheduler_config.json: the noise schedule, and whether the UNet predicts velocity
/// instead of noise.
struct SchedulerConfig {
  NoiseScheduleConfig noise_schedule;
  bool v_prediction = false;
};

/// Parse one config file each. `json` is its text, `name` stands in messages. InvalidArgument names
/// every key that is missing, of the wrong type or of a value that this program does not support,
/// with what is supported. Keys that nothing here depends on are ignored; absent keys have the
/// defaults of diffusers 0.36 and transformers 4.57.
///
/// A text encoder has a pooled output (projection_dim is set) when its `architectures` say
/// CLIPTextModelWithProjection.
absl::StatusOr<ClipConfig> ParseClipConfig(const std::string& json, const std::string& name);
absl::StatusOr<UNetConfig> ParseUNetConfig(const std::string& json, const std::string& name);
absl::StatusOr<VaeConfig> ParseVaeConfig(const std::string& json, const std::string& name);
absl::StatusOr<SchedulerConfig> ParseSchedulerConfig(const std::string& json,
                                                     const std::string& name);

}  // namespace neolog
