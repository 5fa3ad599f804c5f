#include "worker/diffusion/layers.h"

#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

#include "common/checkpoint/attention_rule.h"

namespace neolog::diffusion {
namespace {

// The type to count in: fp32 for 16-bit types.
at::ScalarType Wide(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

// libtorch's CPU norms take 16-bit inputs with fp32 weights and then count in fp32 throughout; its
// CUDA norms want one type, and count in fp32 as well.
WeightReader NormReader(const WeightReader& reader) {
  return reader.device().is_cpu() ? reader.As(Wide(reader.dtype())) : reader;
}

// [B, T, heads·d] -> [B·heads, T, d].
at::Tensor SplitHeads(const at::Tensor& x, int64_t heads) {
  const int64_t b = x.size(0), t = x.size(1), d = x.size(2) / heads;
  return x.view({b, t, heads, d}).transpose(1, 2).reshape({b * heads, t, d});
}

at::Tensor MatmulAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           int64_t heads, bool causal) {
  const int64_t b = q.size(0), tq = q.size(1), tk = k.size(1), d = q.size(2) / heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  at::Tensor scores;
  const at::Tensor q3 = SplitHeads(q, heads), k3 = SplitHeads(k, heads).transpose(1, 2),
                   v3 = SplitHeads(v, heads);
  if (causal) {
    const at::Tensor mask =
        at::full({tq, tk}, -std::numeric_limits<double>::infinity(), q.options())
            .triu(1)
            .expand({b * heads, tq, tk});
    scores = at::baddbmm(mask, q3, k3, /*beta=*/1, /*alpha=*/scale);
  } else {
    scores = at::baddbmm(at::empty({1, 1, 1}, q.options()).expand({b * heads, tq, tk}), q3, k3,
                         /*beta=*/0, scale);
  }
  const at::Tensor weights = at::softmax(scores, -1, Wide(q.scalar_type())).to(q.scalar_type());
  return at::bmm(weights, v3).view({b, heads, tq, d}).transpose(1, 2).reshape({b, tq, heads * d});
}

at::Tensor FusedAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          int64_t heads, bool causal) {
  const int64_t b = q.size(0), d = q.size(2) / heads;
  const auto split = [&](const at::Tensor& x) {
    return x.view({b, x.size(1), heads, d}).transpose(1, 2);
  };
  return at::scaled_dot_product_attention(split(q), split(k), split(v), /*attn_mask=*/{},
                                          /*dropout_p=*/0.0, causal)
      .transpose(1, 2)
      .reshape({b, q.size(1), heads * d});
}

}  // namespace

Linear::Linear(const WeightReader& reader, int64_t in, int64_t out, bool with_bias)
    : weight(reader.Get("weight", {out, in})) {
  if (with_bias) bias = reader.Get("bias", {out});
}

at::Tensor Linear::forward(const at::Tensor& x) const { return at::linear(x, weight, bias); }

Conv2d::Conv2d(const WeightReader& reader, int64_t in, int64_t out, int64_t kernel, int64_t stride,
               int64_t padding)
    : weight(reader.Get("weight", {out, in, kernel, kernel})),
      bias(reader.Get("bias", {out})),
      stride_(stride),
      padding_(padding) {}

at::Tensor Conv2d::forward(const at::Tensor& x) const {
  return at::conv2d(x, weight, bias, at::IntArrayRef(stride_), at::IntArrayRef(padding_));
}

GroupNorm::GroupNorm(const WeightReader& reader, int64_t groups, int64_t channels, double eps)
    : weight(NormReader(reader).Get("weight", {channels})),
      bias(NormReader(reader).Get("bias", {channels})),
      groups_(groups),
      eps_(eps) {}

at::Tensor GroupNorm::forward(const at::Tensor& x) const {
  return at::group_norm(x, groups_, weight, bias, eps_);
}

LayerNorm::LayerNorm(const WeightReader& reader, int64_t width, double eps)
    : weight(NormReader(reader).Get("weight", {width})),
      bias(NormReader(reader).Get("bias", {width})),
      width_(width),
      eps_(eps) {}

at::Tensor LayerNorm::forward(const at::Tensor& x) const {
  return at::layer_norm(x, {width_}, weight, bias, eps_);
}

bool IsFused(AttentionKernel kernel, c10::Device device, int64_t scores) {
  return kernel == AttentionKernel::kFlash && (!device.is_cpu() || scores >= kFusedFromScores);
}

at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                     AttentionKernel kernel, bool causal) {
  return IsFused(kernel, q.device(), q.size(1) * k.size(1))
             ? FusedAttention(q, k, v, heads, causal)
             : MatmulAttention(q, k, v, heads, causal);
}

}  // namespace neolog::diffusion
