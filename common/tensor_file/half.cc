#include "common/tensor_file/half.h"

#include <fmt/format.h>

#include <cstring>

namespace neolog {
namespace {

template <typename Element, typename Convert>
std::vector<float> ConvertAll(std::span<const std::byte> bytes, Convert convert) {
  std::vector<float> values(bytes.size() / sizeof(Element));
  for (size_t i = 0; i < values.size(); ++i) {
    Element element;
    std::memcpy(&element, bytes.data() + i * sizeof(Element), sizeof(Element));
    values[i] = convert(element);
  }
  return values;
}

}  // namespace

absl::StatusOr<std::vector<float>> ToFloat32(const TensorView& tensor) {
  if (tensor.data.size() % SizeOf(tensor.type) != 0) {
    return InvalidArgument(fmt::format("{} bytes are not a whole number of {} elements",
                                       tensor.data.size(), NameOf(tensor.type)));
  }
  switch (tensor.type) {
    case TensorType::kFloat16: return ConvertAll<uint16_t>(tensor.data, HalfToFloat);
    case TensorType::kBFloat16: return ConvertAll<uint16_t>(tensor.data, BFloat16ToFloat);
    case TensorType::kFloat32: return ConvertAll<float>(tensor.data, [](float v) { return v; });
    case TensorType::kFloat64:
      return ConvertAll<double>(tensor.data, [](double v) { return static_cast<float>(v); });
    default:
      return InvalidArgument(fmt::format(
          "a tensor of type {} holds no floating-point numbers: expected F16, BF16, F32 or F64",
          NameOf(tensor.type)));
  }
}

}  // namespace neolog
