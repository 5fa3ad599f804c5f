#include "common/checkpoint/finite.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/tensor_file/half.h"

namespace neolog {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

std::vector<std::byte> Bytes(TensorType type, const std::vector<double>& values) {
  std::vector<std::byte> bytes;
  const auto add = [&](const auto& value) {
    const auto* begin = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), begin, begin + sizeof(value));
  };
  for (const double value : values) {
    const auto single = static_cast<float>(value);
    if (type == TensorType::kFloat16) add(FloatToHalf(single));
    if (type == TensorType::kBFloat16) add(FloatToBFloat16(single));
    if (type == TensorType::kFloat32) add(single);
    if (type == TensorType::kFloat64) add(value);
  }
  return bytes;
}

constexpr TensorType kTypes[] = {TensorType::kFloat16, TensorType::kBFloat16, TensorType::kFloat32,
                                 TensorType::kFloat64};

// Wherever it stands: at the beginning, in the middle and at the end of what is read at once.
TEST(NotFinite, OneBadNumber_IsFoundAnywhere) {
  for (const TensorType type : kTypes) {
    for (const double bad : {std::nan(""), -std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      for (const size_t at : {0u, 1023u, 1024u, 2999u}) {
        std::vector<double> values(3000, -0.5);
        std::vector<std::byte> bytes = Bytes(type, values);
        EXPECT_EQ(NotFinite({type, {3000}, bytes}, type), std::nullopt);
        values[at] = bad;
        bytes = Bytes(type, values);
        EXPECT_THAT(NotFinite({type, {3000}, bytes}, type),
                    Optional(HasSubstr("holds NaN or infinity")));
      }
    }
  }
}

TEST(NotFinite, NumberBeyondTheType_IsTold) {
  struct Case {
    TensorType from, to;
    double value;
    bool fits;
  };
  const Case cases[] = {
      {TensorType::kFloat32, TensorType::kFloat16, 65519, true},
      {TensorType::kFloat32, TensorType::kFloat16, -65520, false},
      {TensorType::kBFloat16, TensorType::kFloat16, 65536, false},
      {TensorType::kFloat32, TensorType::kBFloat16, 3e38, true},
      {TensorType::kFloat32, TensorType::kBFloat16, 3.4e38, false},
      {TensorType::kFloat64, TensorType::kFloat32, 1e39, false},
      {TensorType::kFloat64, TensorType::kFloat32, 1e38, true},
  };
  for (const Case& one : cases) {
    const auto bytes = Bytes(one.from, {0, one.value});
    EXPECT_EQ(NotFinite({one.from, {2}, bytes}, one.to).has_value(), !one.fits) << one.value;
    if (!one.fits) {
      // The conversion that it speaks of.
      const auto single = static_cast<float>(one.value);
      if (one.to == TensorType::kFloat16) {
        EXPECT_TRUE(std::isinf(HalfToFloat(FloatToHalf(single))));
      } else if (one.to == TensorType::kBFloat16) {
        EXPECT_TRUE(std::isinf(BFloat16ToFloat(FloatToBFloat16(single))));
      }
    }
  }
}

TEST(NotFinite, NothingAndMisalignedBytes_AreFine) {
  EXPECT_EQ(NotFinite({TensorType::kFloat32, {0}, {}}, TensorType::kFloat32), std::nullopt);
  std::vector<std::byte> bytes = Bytes(TensorType::kFloat32, {1, 2, 3});
  bytes.insert(bytes.begin(), std::byte{0x7f});
  EXPECT_EQ(
      NotFinite({TensorType::kFloat32, {3}, std::span(bytes).subspan(1)}, TensorType::kFloat32),
      std::nullopt);
}

}  // namespace
}  // namespace neolog
