#include "worker/torch_support/tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <string>

namespace neolog::torch_support {

at::ScalarType ScalarTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kBool: return at::kBool;
    case TensorType::kUint8: return at::kByte;
    case TensorType::kInt8: return at::kChar;
    case TensorType::kInt16: return at::kShort;
    case TensorType::kInt32: return at::kInt;
    case TensorType::kInt64: return at::kLong;
    case TensorType::kFloat16: return at::kHalf;
    case TensorType::kBFloat16: return at::kBFloat16;
    case TensorType::kFloat32: return at::kFloat;
    case TensorType::kFloat64: return at::kDouble;
  }
  return at::ScalarType::Undefined;
}

absl::StatusOr<TensorType> TensorTypeOf(at::ScalarType type) {
  switch (type) {
    case at::kBool: return TensorType::kBool;
    case at::kByte: return TensorType::kUint8;
    case at::kChar: return TensorType::kInt8;
    case at::kShort: return TensorType::kInt16;
    case at::kInt: return TensorType::kInt32;
    case at::kLong: return TensorType::kInt64;
    case at::kHalf: return TensorType::kFloat16;
    case at::kBFloat16: return TensorType::kBFloat16;
    case at::kFloat: return TensorType::kFloat32;
    case at::kDouble: return TensorType::kFloat64;
    default:
      return InvalidArgument(std::string("a tensor of type ") + c10::toString(type) +
                             " has no place in a tensor file");
  }
}

at::Tensor TensorOver(const TensorView& view, std::shared_ptr<const void> owner) {
  const auto options = at::TensorOptions().dtype(ScalarTypeOf(view.type));
  const bool aligned = reinterpret_cast<uintptr_t>(view.data.data()) % SizeOf(view.type) == 0;
  if (view.data.empty() || !aligned) {
    at::Tensor copy = at::empty(view.shape, options);
    if (!view.data.empty())
      std::memcpy(copy.mutable_data_ptr(), view.data.data(), view.data.size());
    return copy;
  }
  // from_blob wants a pointer it may write through; no caller writes to weights.
  return at::from_blob(
      const_cast<std::byte*>(view.data.data()), view.shape, [owner = std::move(owner)](void*) {},
      options);
}

absl::StatusOr<TensorView> ViewOf(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || !tensor.is_contiguous()) {
    return InvalidArgument("only a contiguous tensor in host memory can be viewed as bytes");
  }
  TensorView view;
  ASSIGN_OR_RETURN(view.type, TensorTypeOf(tensor.scalar_type()));
  view.shape = tensor.sizes().vec();
  view.data = {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
  return view;
}

}  // namespace neolog::torch_support
