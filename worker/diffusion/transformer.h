#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "worker/diffusion/layers.h"

namespace neolog::diffusion {

/// Sizes of one Transformer2DModel.
struct TransformerOptions {
  int64_t channels = 0;
  int64_t heads = 8;
  int64_t depth = 1;
  int64_t context_width = 768;  // of the text
  int64_t groups = 32;
  bool use_linear_projection = false;
  AttentionKernel kernel = AttentionKernel::kFlash;
};

/// Attention of the UNet: queries from x, keys and values from `context` (x itself for
/// self-attention).
class CrossAttention {
 public:
  CrossAttention(const WeightReader& reader, int64_t width, int64_t context_width,
                 const TransformerOptions& options);
  /// x [B, T, width], context [B, S, context_width] -> [B, T, width].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& context) const;

 private:
  Linear to_q, to_k, to_v, to_out;
  int64_t heads_;
  AttentionKernel kernel_;
};

/// The gated feed-forward layer (GEGLU).
class FeedForward {
 public:
  FeedForward(const WeightReader& reader, int64_t width);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  Linear proj, out;
};

/// Self-attention, cross-attention to the text, feed-forward; each behind a norm and added to its
/// input.
class BasicTransformerBlock {
 public:
  BasicTransformerBlock(const WeightReader& reader, const TransformerOptions& options);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& text) const;

 private:
  LayerNorm norm1;
  CrossAttention attn1;
  LayerNorm norm2;
  CrossAttention attn2;
  LayerNorm norm3;
  FeedForward ff;
};

/// Transformer2DModel of diffusers over a feature map.
class Transformer2DModel {
 public:
  Transformer2DModel(const WeightReader& reader, const TransformerOptions& options);
  /// x [B, channels, h, w], text [B, S, context_width] -> [B, channels, h, w].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& text) const;

 private:
  GroupNorm norm;
  std::optional<Conv2d> proj_in_conv, proj_out_conv;  // SD 1
  std::optional<Linear> proj_in, proj_out;            // SD 2: use_linear_projection
  std::vector<BasicTransformerBlock> transformer_blocks;
};

}  // namespace neolog::diffusion
