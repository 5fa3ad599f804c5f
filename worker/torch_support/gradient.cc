#include "worker/torch_support/gradient.h"

#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

namespace neolog::torch_support {

at::Tensor GradientOf(const at::Tensor& loss, const at::Tensor& leaf) {
  if (!loss.requires_grad()) return at::zeros_like(leaf);
  const auto gradients =
      torch::autograd::grad({loss}, {leaf}, /*grad_outputs=*/{}, /*retain_graph=*/false,
                            /*create_graph=*/false, /*allow_unused=*/true);
  return gradients[0].defined() ? gradients[0] : at::zeros_like(leaf);
}

}  // namespace neolog::torch_support
