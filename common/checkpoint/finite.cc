#include "common/checkpoint/finite.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/tensor_file/half.h"

namespace neolog {
namespace {

// The magnitudes of IEEE numbers order as their bits do, NaN above infinity above all numbers.
template <typename Bits>
Bits LargestMagnitude(const TensorView& tensor) {
  constexpr Bits kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  constexpr Bits kMask = static_cast<Bits>(~kSign);
  constexpr size_t kBlock = 1024;
  Bits block[kBlock];
  Bits largest = 0;
  for (size_t at = 0; at < tensor.data.size(); at += sizeof(block)) {
    // Copied: a view need not be aligned.
    const size_t bytes = std::min(sizeof(block), tensor.data.size() - at);
    std::memcpy(block, tensor.data.data() + at, bytes);
    for (size_t i = 0; i < bytes / sizeof(Bits); ++i)
      largest = std::max(largest, static_cast<Bits>(block[i] & kMask));
  }
  return largest;
}

double LargestOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat16: return 65504;
    case TensorType::kBFloat16: return 0x1.fep127;
    case TensorType::kFloat32: return 0x1.fffffep127;
    default: return 0x1.fffffffffffffp1023;
  }
}

double LargestMagnitudeOf(const TensorView& tensor) {
  switch (tensor.type) {
    case TensorType::kFloat16: return HalfToFloat(LargestMagnitude<uint16_t>(tensor));
    case TensorType::kBFloat16: return BFloat16ToFloat(LargestMagnitude<uint16_t>(tensor));
    case TensorType::kFloat32: return std::bit_cast<float>(LargestMagnitude<uint32_t>(tensor));
    case TensorType::kFloat64: return std::bit_cast<double>(LargestMagnitude<uint64_t>(tensor));
    default: return 0;
  }
}

}  // namespace

std::optional<std::string> NotFinite(const TensorView& tensor, TensorType type) {
  const double largest = LargestMagnitudeOf(tensor);
  if (!std::isfinite(largest)) return "holds NaN or infinity";
  // Above the largest number by half a step and more, rounding gives infinity.
  const double limit = LargestOf(type);
  const bool overflows = type == TensorType::kFloat16    ? largest >= 65520
                         : type == TensorType::kBFloat16 ? largest >= 0x1.ffp127
                                                         : largest > limit;
  if (!overflows) return std::nullopt;
  return fmt::format("holds {}, beyond {}'s {}", largest, NameOf(type), limit);
}

}  // namespace neolog
