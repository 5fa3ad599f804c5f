#include "common/tensor_file/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HalfTest, KnownValues) {
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0xc000), -2.0f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x0400), 0x1p-14f);
  EXPECT_TRUE(std::signbit(HalfToFloat(0x8000)));
  EXPECT_TRUE(std::isinf(HalfToFloat(0xfc00)));
  EXPECT_EQ(FloatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
}

// Every half number comes back, and around the middle between each two neighbours the nearer (the
// even one in the exact middle, which float32 represents) is taken.
TEST(HalfTest, RoundsToNearestEven_Exhaustive) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    ASSERT_EQ(FloatToHalf(HalfToFloat(low)), low);
    ASSERT_EQ(FloatToHalf(-HalfToFloat(low)), low | 0x8000);
    if (bits == 0x7bff) break;
    const auto high = static_cast<uint16_t>(bits + 1);
    const float middle = (HalfToFloat(low) + HalfToFloat(high)) / 2;
    ASSERT_EQ(FloatToHalf(middle), low % 2 == 0 ? low : high) << bits;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), low) << bits;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 1e9f)), high) << bits;
  }
}

TEST(HalfTest, NansStayNans) {
  for (uint32_t bits = 0x7c01; bits < 0x8000; ++bits) {
    ASSERT_TRUE(std::isnan(HalfToFloat(static_cast<uint16_t>(bits))));
    ASSERT_EQ(FloatToHalf(HalfToFloat(static_cast<uint16_t>(bits))), bits | 0x200);
  }
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::bit_cast<float>(0x7f800001u)))));
}

TEST(BFloat16Test, RoundsToNearestEven_Exhaustive) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    ASSERT_EQ(FloatToBFloat16(BFloat16ToFloat(low)), low);
    const uint32_t middle = bits << 16 | 0x8000u;
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(middle)), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(middle - 1)), bits);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(middle + 1)), bits + 1);
    ASSERT_EQ(FloatToBFloat16(std::bit_cast<float>(0x80000000u | (middle + 1))),
              0x8000 | (bits + 1));
  }
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(FloatToBFloat16(std::numeric_limits<float>::infinity()), 0x7f80);
}

template <typename T>
TensorView ViewOf(TensorType type, const std::vector<T>& values) {
  return {type, {static_cast<int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

TEST(ToFloat32Test, ConvertsEveryFloatingType) {
  const std::vector<uint16_t> half = {0x3c00, 0xc000};
  const std::vector<uint16_t> bfloat = {0x3f80, 0xc000};
  const std::vector<float> single = {1.0f, -2.0f};
  const std::vector<double> twice = {1.0, -2.0};
  for (const TensorView& view :
       {ViewOf(TensorType::kFloat16, half), ViewOf(TensorType::kBFloat16, bfloat),
        ViewOf(TensorType::kFloat32, single), ViewOf(TensorType::kFloat64, twice)}) {
    ASSERT_OK_AND_ASSIGN(const auto values, ToFloat32(view));
    EXPECT_THAT(values, ElementsAre(1.0f, -2.0f)) << NameOf(view.type);
  }
}

TEST(ToFloat32Test, TakesUnalignedBytes) {
  std::vector<std::byte> bytes(5);
  const float value = 0.25f;
  std::memcpy(bytes.data() + 1, &value, 4);
  ASSERT_OK_AND_ASSIGN(
      const auto values,
      ToFloat32({TensorType::kFloat32, {1}, std::span<const std::byte>(bytes).subspan(1)}));
  EXPECT_THAT(values, ElementsAre(0.25f));
}

TEST(ToFloat32Test, RefusesIntegersAndRaggedBytes) {
  const std::vector<int64_t> integers = {1};
  EXPECT_THAT(ToFloat32(ViewOf(TensorType::kInt64, integers)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("type I64 holds no floating-point numbers")));
  const std::vector<char> ragged(3);
  EXPECT_THAT(ToFloat32({TensorType::kFloat16, {2}, std::as_bytes(std::span(ragged))}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("3 bytes are not a whole number of F16")));
}

}  // namespace
}  // namespace neolog
