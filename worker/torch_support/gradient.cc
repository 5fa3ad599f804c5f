#include "worker/torch_support/gradient.h"

#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

namespace neolog::torch_support {

at::Tensor GradientOf(const at::Tensor& loss, const at::Tensor& leaf) {
  return GradientThrough({loss}, {at::Tensor()}, leaf);  // of a scalar, undefined means 1
}

at::Tensor GradientThrough(at::ArrayRef<at::Tensor> outputs, at::ArrayRef<at::Tensor> of_outputs,
                           const at::Tensor& leaf) {
  std::vector<at::Tensor> depending, gradients;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined() || !outputs[i].requires_grad()) continue;
    depending.push_back(outputs[i]);
    gradients.push_back(of_outputs[i]);
  }
  if (depending.empty()) return at::zeros_like(leaf);
  const auto found = torch::autograd::grad(depending, {leaf}, gradients, /*retain_graph=*/false,
                                           /*create_graph=*/false, /*allow_unused=*/true);
  return found[0].defined() ? found[0] : at::zeros_like(leaf);
}

}  // namespace neolog::torch_support
