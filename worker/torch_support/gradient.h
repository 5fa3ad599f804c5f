#pragma once

#include <ATen/core/Tensor.h>

namespace neolog::torch_support {

/// d loss / d leaf, of leaf's shape, float32. `loss` is a scalar, `leaf` requires a gradient. Zeros
/// when the loss does not depend on the leaf. Frees the graph. Throws as libtorch does: call it
/// inside CallTorch.
at::Tensor GradientOf(const at::Tensor& loss, const at::Tensor& leaf);

/// The gradient of `leaf`, of its shape, that belongs to the gradients `of_outputs` of `outputs`,
/// which were computed from it. Outputs that are undefined or do not depend on it count for
/// nothing. Frees the
/// graph. Throws as libtorch does.
at::Tensor GradientThrough(at::ArrayRef<at::Tensor> outputs, at::ArrayRef<at::Tensor> of_outputs,
                           const at::Tensor& leaf);

}  // namespace neolog::torch_support
