#include "worker/diffusion/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>

namespace neolog::diffusion {

CrossAttention::CrossAttention(const WeightReader& reader, int64_t width, int64_t context_width,
                               const TransformerOptions& options)
    : to_q(reader / "to_q", width, width, /*bias=*/false),
      to_k(reader / "to_k", context_width, width, /*bias=*/false),
      to_v(reader / "to_v", context_width, width, /*bias=*/false),
      to_out(reader / "to_out" / 0, width, width),
      heads_(options.heads),
      kernel_(options.kernel) {}

at::Tensor CrossAttention::forward(const at::Tensor& x, const at::Tensor& context) const {
  return to_out.forward(
      Attention(to_q.forward(x), to_k.forward(context), to_v.forward(context), heads_, kernel_));
}

FeedForward::FeedForward(const WeightReader& reader, int64_t width)
    : proj(reader / "net" / 0 / "proj", width, 8 * width),
      out(reader / "net" / 2, 4 * width, width) {}

at::Tensor FeedForward::forward(const at::Tensor& x) const {
  const auto halves = proj.forward(x).chunk(2, -1);
  return out.forward(halves[0] * at::gelu(halves[1]));
}

BasicTransformerBlock::BasicTransformerBlock(const WeightReader& reader,
                                             const TransformerOptions& o)
    : norm1(reader / "norm1", o.channels, 1e-5),
      attn1(reader / "attn1", o.channels, o.channels, o),
      norm2(reader / "norm2", o.channels, 1e-5),
      attn2(reader / "attn2", o.channels, o.context_width, o),
      norm3(reader / "norm3", o.channels, 1e-5),
      ff(reader / "ff", o.channels) {}

at::Tensor BasicTransformerBlock::forward(const at::Tensor& x, const at::Tensor& text) const {
  const at::Tensor n1 = norm1.forward(x);
  at::Tensor h = x + attn1.forward(n1, n1);
  h = h + attn2.forward(norm2.forward(h), text);
  return h + ff.forward(norm3.forward(h));
}

Transformer2DModel::Transformer2DModel(const WeightReader& reader, const TransformerOptions& o)
    : norm(reader / "norm", o.groups, o.channels, 1e-6) {
  if (o.use_linear_projection) {
    proj_in.emplace(reader / "proj_in", o.channels, o.channels);
    proj_out.emplace(reader / "proj_out", o.channels, o.channels);
  } else {
    proj_in_conv.emplace(reader / "proj_in", o.channels, o.channels, 1);
    proj_out_conv.emplace(reader / "proj_out", o.channels, o.channels, 1);
  }
  transformer_blocks.reserve(o.depth);
  for (int64_t i = 0; i < o.depth; ++i)
    transformer_blocks.emplace_back(reader / "transformer_blocks" / i, o);
}

at::Tensor Transformer2DModel::forward(const at::Tensor& x, const at::Tensor& text) const {
  const int64_t b = x.size(0), c = x.size(1), height = x.size(2), width = x.size(3);
  const auto to_tokens = [&](const at::Tensor& map) {
    return map.permute({0, 2, 3, 1}).reshape({b, height * width, c});
  };
  const auto to_map = [&](const at::Tensor& tokens) {
    return tokens.view({b, height, width, c}).permute({0, 3, 1, 2}).contiguous();
  };
  at::Tensor h = norm.forward(x);
  h = proj_in ? proj_in->forward(to_tokens(h)) : to_tokens(proj_in_conv->forward(h));
  for (const BasicTransformerBlock& block : transformer_blocks) h = block.forward(h, text);
  h = proj_out ? to_map(proj_out->forward(h)) : proj_out_conv->forward(to_map(h));
  return h + x;
}

}  // namespace neolog::diffusion
