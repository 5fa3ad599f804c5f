#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/diffusion/model.h"
#include "worker/torch_support/weights.h"

/// The layers that the text encoder, the UNet and the VAE are built of. Each reads its weights from
/// a WeightReader whose prefix is the layer's own key. Weights are frozen, so backward never
/// computes a gradient for them. Wrong weights are reported by WeightMap::Finish; forward must not
/// be called before it said OK. Shapes that do not fit make libtorch throw.
namespace neolog::diffusion {

using torch_support::WeightReader;

/// y = x Wᵀ + b.
class Linear {
 public:
  Linear(const WeightReader& reader, int64_t in, int64_t out, bool bias = true);
  /// [..., in] -> [..., out].
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight, bias;
};

/// A convolution over the last two dimensions.
class Conv2d {
 public:
  Conv2d(const WeightReader& reader, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1,
         int64_t padding = 0);
  /// [N, in, h, w] -> [N, out, h', w'].
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight, bias;
  int64_t stride_, padding_;
};

/// Group normalisation; the statistics are in fp32 whatever x's type.
class GroupNorm {
 public:
  GroupNorm(const WeightReader& reader, int64_t groups, int64_t channels, double eps);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight, bias;
  int64_t groups_;
  double eps_;
};

/// Normalisation over the last dimension; the statistics are in fp32 whatever x's type.
class LayerNorm {
 public:
  LayerNorm(const WeightReader& reader, int64_t width, double eps);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  at::Tensor weight, bias;
  int64_t width_;
  double eps_;
};

/// Whether Attention takes the fused kernel for `scores` scores a head.
bool IsFused(AttentionKernel kernel, c10::Device device, int64_t scores);

/// softmax(q kᵀ / √d) v for every head. q [B, Tq, heads·d], k and v [B, Tk, heads·d] -> [B, Tq,
/// heads·d]; softmax in fp32. `causal`: a position sees itself and those before it.
///
/// kFlash uses libtorch's fused kernel where the score matrix is large, and matrix products where
/// it is small: there the fused kernel's backward is slower on a CPU, and the scores cost little
/// memory. kMatmul always forms the scores.
at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                     AttentionKernel kernel, bool causal = false);

}  // namespace neolog::diffusion
