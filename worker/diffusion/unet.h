#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "common/checkpoint/config.h"
#include "worker/diffusion/resnet.h"
#include "worker/diffusion/transformer.h"

namespace neolog::diffusion {

/// DownBlock2D and CrossAttnDownBlock2D: layers that keep what they give for the way up.
class DownBlock {
 public:
  DownBlock(const WeightReader& reader, const UNetConfig& config, size_t index,
            AttentionKernel kernel);
  /// Appends every intermediate map to `skips`.
  at::Tensor forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& text,
                     std::vector<at::Tensor>& skips) const;

 private:
  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2DModel> attentions;  // empty in DownBlock2D
  std::optional<Downsample2D> downsampler;     // "downsamplers.0"; none in the last block
};

/// UNetMidBlock2DCrossAttn.
class MidBlock {
 public:
  MidBlock(const WeightReader& reader, const UNetConfig& config, AttentionKernel kernel);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& temb, const at::Tensor& text) const;

 private:
  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2DModel> attentions;
};

/// UpBlock2D and CrossAttnUpBlock2D.
class UpBlock {
 public:
  UpBlock(const WeightReader& reader, const UNetConfig& config, size_t index,
          AttentionKernel kernel);
  /// Takes its skip connections from the end of `skips`; the upsampler meets the size of the one
  /// then left last.
  at::Tensor forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& text,
                     std::vector<at::Tensor>& skips) const;

 private:
  std::vector<ResnetBlock2D> resnets;
  std::vector<Transformer2DModel> attentions;  // empty in UpBlock2D
  std::optional<Upsample2D> upsampler;         // "upsamplers.0"; none in the last block
};

/// UNet2DConditionModel of diffusers, for SD 1.x, 2.x and SDXL.
class UNet {
 public:
  UNet(const WeightReader& reader, const UNetConfig& config, AttentionKernel kernel);

  /// x [B, in_channels, h, w] in the weights' type, timesteps [B] float32 or int64, text.hidden [B,
  /// S, cross_attention_dim] -> [B, out_channels, h, w] in the weights' type. h and w are free: odd
  /// sizes are met on the way up. With added conditioning (SDXL), text.pooled and text.time_ids
  /// count as well.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& timesteps,
                     const Conditioning& text) const;

 private:
  at::Tensor TimeEmbedding(const at::Tensor& timesteps, const Conditioning& text,
                           at::ScalarType type) const;

  UNetConfig config_;
  Conv2d conv_in;
  Linear time_embedding_linear_1, time_embedding_linear_2;
  std::optional<Linear> add_embedding_linear_1, add_embedding_linear_2;  // SDXL
  std::vector<DownBlock> down_blocks;
  MidBlock mid_block;
  std::vector<UpBlock> up_blocks;
  GroupNorm conv_norm_out;
  Conv2d conv_out;
};

/// The sinusoidal embedding of timesteps [B], [B, width] float32: frequencies 10000^(-i/(width/2 -
/// freq_shift)), cosines first when `flip_sin_to_cos`. (get_timestep_embedding of diffusers.)
at::Tensor TimestepEmbedding(const at::Tensor& timesteps, int64_t width, bool flip_sin_to_cos,
                             double freq_shift);

}  // namespace neolog::diffusion
