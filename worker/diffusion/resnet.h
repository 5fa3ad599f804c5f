#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "worker/diffusion/layers.h"

namespace neolog::diffusion {

/// ResnetBlock2D of diffusers: two normalised convolutions around a shortcut, with the timestep
/// added between them. The UNet and the VAE are made of it.
class ResnetBlock2D {
 public:
  struct Options {
    int64_t in = 0, out = 0;
    int64_t groups = 32;
    double eps = 1e-5;
    /// Width of the timestep embedding; 0 in the VAE, which has none.
    int64_t temb = 0;
  };
  ResnetBlock2D(const WeightReader& reader, const Options& options);

  /// x [N, in, h, w] -> [N, out, h, w]. `temb` [N, temb] is the timestep embedding after SiLU,
  /// undefined without one.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& temb = {}) const;

 private:
  GroupNorm norm1;
  Conv2d conv1;
  std::optional<Linear> time_emb_proj;
  GroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> conv_shortcut;
};

/// Doubles height and width (nearest neighbour), then a 3x3 convolution.
class Upsample2D {
 public:
  Upsample2D(const WeightReader& reader, int64_t channels);
  /// To twice the size.
  at::Tensor forward(const at::Tensor& x) const;
  /// To [height, width], where twice the size would not meet the skip connection.
  at::Tensor forward(const at::Tensor& x, int64_t height, int64_t width) const;

 private:
  Conv2d conv;
};

/// Halves height and width with a 3x3 convolution of stride 2.
class Downsample2D {
 public:
  /// `padding` 1 pads all sides by one; 0 pads right and bottom only, as the VAE does.
  Downsample2D(const WeightReader& reader, int64_t channels, int64_t padding);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  Conv2d conv;
  int64_t padding_;
};

}  // namespace neolog::diffusion
