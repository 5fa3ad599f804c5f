#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "common/tensor_file/safetensors.h"

namespace neolog::torch_support {

/// The same element type in libtorch's words, and back (InvalidArgument for types that a tensor
/// file does not have).
at::ScalarType ScalarTypeOf(TensorType type);
absl::StatusOr<TensorType> TensorTypeOf(at::ScalarType type);

/// A CPU tensor over `view`'s memory, without a copy where the memory is aligned for the element
/// type, otherwise a copy. `owner` is kept until the tensor's storage is released; nobody may write
/// to the tensor when the memory is read-only.
at::Tensor TensorOver(const TensorView& view, std::shared_ptr<const void> owner);

/// A view of a contiguous CPU tensor's memory; valid while `tensor`'s storage lives and is not
/// written to. InvalidArgument for other layouts, devices and types.
absl::StatusOr<TensorView> ViewOf(const at::Tensor& tensor);

}  // namespace neolog::torch_support
