#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

#include "common/checkpoint/config.h"
#include "worker/diffusion/resnet.h"

namespace neolog::diffusion {

/// The single-head attention in the middle of the VAE.
class VaeAttention {
 public:
  /// Accepts the keys of diffusers from before 0.15 (query, key, value, proj_attn) as well.
  VaeAttention(const WeightReader& reader, int64_t channels, int64_t groups);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  GroupNorm group_norm;
  Linear to_q, to_k, to_v, to_out;
};

/// The middle of encoder and decoder: resnet, attention (unless the configuration has none),
/// resnet.
class VaeMidBlock {
 public:
  VaeMidBlock(const WeightReader& reader, const VaeConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::vector<ResnetBlock2D> resnets;
  std::optional<VaeAttention> attention;
};

/// AutoencoderKL of diffusers. Both directions in the weights' type; no gradient is computed.
class Vae {
 public:
  Vae(const WeightReader& reader, const VaeConfig& config);

  /// Pixels [N, 3, H, W] in [-1, 1] -> moments [N, 2·latent_channels, h, w]: mean, then logvar (not
  /// clamped).
  at::Tensor encode(const at::Tensor& pixels) const;
  /// Unscaled latents [N, latent_channels, h, w] -> pixels [N, 3, H, W], not clamped.
  at::Tensor decode(const at::Tensor& latents) const;

 private:
  struct Level {
    std::vector<ResnetBlock2D> resnets;
    std::optional<Downsample2D> downsampler;
    std::optional<Upsample2D> upsampler;
  };
  struct Encoder {
    Encoder(const WeightReader& reader, const VaeConfig& config);
    Conv2d conv_in;
    std::vector<Level> down_blocks;
    VaeMidBlock mid_block;
    GroupNorm conv_norm_out;
    Conv2d conv_out;
  };
  struct Decoder {
    Decoder(const WeightReader& reader, const VaeConfig& config);
    Conv2d conv_in;
    VaeMidBlock mid_block;
    std::vector<Level> up_blocks;
    GroupNorm conv_norm_out;
    Conv2d conv_out;
  };

  Encoder encoder;
  Decoder decoder;
  std::optional<Conv2d> quant_conv, post_quant_conv;
};

}  // namespace neolog::diffusion
