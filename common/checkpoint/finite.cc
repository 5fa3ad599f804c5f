#include "common/checkpoint/finite.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "common/tensor_file/half.h"

namespace neolog {
namespace {

// The magnitudes of IEEE numbers order as their bits do: numbers, infinity, NaN. Whether any is
// `limit` or above, and the largest of all.
template <typename Bits>
struct Magnitudes {
  static constexpr size_t kBlock = 1024;
  static constexpr Bits kMask = std::numeric_limits<Bits>::max();  // all but the sign

  // Calls `look` with blocks of magnitudes, the last one filled up with zeros: a loop of one length
  // is what the compiler turns into vector instructions. Copied: a view need not be aligned.
  template <typename Look>
  static void ForBlocks(const TensorView& tensor, const Look& look) {
    Bits block[kBlock];
    for (size_t at = 0; at < tensor.data.size(); at += sizeof(block)) {
      const size_t bytes = std::min(sizeof(block), tensor.data.size() - at);
      std::memcpy(block, tensor.data.data() + at, bytes);
      std::fill(block + bytes / sizeof(Bits), block + kBlock, Bits{0});
      look(block);
    }
  }
  static bool AnyFrom(const TensorView& tensor, Bits limit) {
    Bits found = 0;
    ForBlocks(tensor, [&](const Bits* block) {
      Bits any = 0;
      for (size_t i = 0; i < kBlock; ++i)
        any = static_cast<Bits>(any | ((block[i] & kMask) >= limit ? 1 : 0));
      found = static_cast<Bits>(found | any);
    });
    return found != 0;
  }
  static Bits Largest(const TensorView& tensor) {
    Bits largest = 0;
    ForBlocks(tensor, [&](const Bits* block) {
      for (size_t i = 0; i < kBlock; ++i)
        largest = std::max(largest, static_cast<Bits>(block[i] & kMask));
    });
    return largest;
  }
};

// The smallest magnitude that becomes infinite in a type: its largest number and half a step.
double OverflowOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat16: return 65520;
    case TensorType::kBFloat16: return 0x1.ffp127;
    case TensorType::kFloat32: return 0x1.ffffffp127;
    default: return std::numeric_limits<double>::infinity();
  }
}

double LargestOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat16: return 65504;
    case TensorType::kBFloat16: return 0x1.fep127;
    case TensorType::kFloat32: return std::numeric_limits<float>::max();
    default: return std::numeric_limits<double>::max();
  }
}

// The largest magnitude, when it reaches `limit`.
std::optional<double> LargestFrom(const TensorView& tensor, double limit) {
  const auto single = static_cast<float>(limit);  // exact, or infinity
  switch (tensor.type) {
    case TensorType::kFloat16:
      if (!Magnitudes<int16_t>::AnyFrom(tensor, static_cast<int16_t>(FloatToHalf(single))))
        return std::nullopt;
      return HalfToFloat(static_cast<uint16_t>(Magnitudes<int16_t>::Largest(tensor)));
    case TensorType::kBFloat16:
      if (!Magnitudes<int16_t>::AnyFrom(tensor, static_cast<int16_t>(FloatToBFloat16(single))))
        return std::nullopt;
      return BFloat16ToFloat(static_cast<uint16_t>(Magnitudes<int16_t>::Largest(tensor)));
    case TensorType::kFloat32:
      if (!Magnitudes<int32_t>::AnyFrom(tensor, std::bit_cast<int32_t>(single)))
        return std::nullopt;
      return std::bit_cast<float>(Magnitudes<int32_t>::Largest(tensor));
    case TensorType::kFloat64:
      if (!Magnitudes<int64_t>::AnyFrom(tensor, std::bit_cast<int64_t>(limit))) return std::nullopt;
      return std::bit_cast<double>(Magnitudes<int64_t>::Largest(tensor));
    default: return std::nullopt;
  }
}

}  // namespace

std::optional<std::string> NotFinite(const TensorView& tensor, TensorType type) {
  const auto largest = LargestFrom(tensor, OverflowOf(type));
  if (!largest) return std::nullopt;
  if (!std::isfinite(*largest)) return "holds NaN or infinity";
  return fmt::format("holds {}, beyond {}'s {}", *largest, NameOf(type), LargestOf(type));
}

}  // namespace neolog
