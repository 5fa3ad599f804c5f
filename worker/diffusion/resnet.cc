#include "worker/diffusion/resnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace neolog::diffusion {

ResnetBlock2D::ResnetBlock2D(const WeightReader& reader, const Options& o)
    : norm1(reader / "norm1", o.groups, o.in, o.eps),
      conv1(reader / "conv1", o.in, o.out, 3, 1, 1),
      norm2(reader / "norm2", o.groups, o.out, o.eps),
      conv2(reader / "conv2", o.out, o.out, 3, 1, 1) {
  if (o.temb > 0) time_emb_proj.emplace(reader / "time_emb_proj", o.temb, o.out);
  if (o.in != o.out) conv_shortcut.emplace(reader / "conv_shortcut", o.in, o.out, 1);
}

at::Tensor ResnetBlock2D::forward(const at::Tensor& x, const at::Tensor& temb) const {
  at::Tensor h = conv1.forward(at::silu(norm1.forward(x)));
  if (time_emb_proj) h = h + time_emb_proj->forward(temb).unsqueeze(-1).unsqueeze(-1);
  h = conv2.forward(at::silu(norm2.forward(h)));
  return (conv_shortcut ? conv_shortcut->forward(x) : x) + h;
}

Upsample2D::Upsample2D(const WeightReader& reader, int64_t channels)
    : conv(reader / "conv", channels, channels, 3, 1, 1) {}

at::Tensor Upsample2D::forward(const at::Tensor& x) const {
  return forward(x, 2 * x.size(2), 2 * x.size(3));
}

at::Tensor Upsample2D::forward(const at::Tensor& x, int64_t height, int64_t width) const {
  return conv.forward(at::upsample_nearest2d(x, {height, width}));
}

Downsample2D::Downsample2D(const WeightReader& reader, int64_t channels, int64_t padding)
    : conv(reader / "conv", channels, channels, 3, 2, padding), padding_(padding) {}

at::Tensor Downsample2D::forward(const at::Tensor& x) const {
  return conv.forward(padding_ == 0 ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

}  // namespace neolog::diffusion
