#include "common/plan/philox.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "common/plan/fixed_math.h"

namespace neolog {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers that come with Random123 for philox4x32 with 10 rounds.
TEST(PhiloxTest, KnownAnswers_Match) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(Philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, RandomWord_UsesTheDocumentedCounter) {
  const RandomKey key{0x0123456789abcdef, RandomPurpose::kTimestep, 7, 9};
  EXPECT_EQ(RandomWord(key, 6), Philox4x32({1, 9, 7, 4}, {0x89abcdef, 0x01234567})[2]);
}

std::vector<uint32_t> NormalBits(const RandomKey& key, size_t n) {
  std::vector<float> values(n);
  FillNormal(key, values);
  std::vector<uint32_t> bits;
  for (float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

// Golden values: the formula of FillNormal, evaluated apart from this code in Python.
TEST(FillNormalTest, Values_AreGoldenToTheBit) {
  EXPECT_EQ(NormalBits({0x0123456789abcdef, RandomPurpose::kDiffusionNoise, 41, 3}, 10),
            (std::vector<uint32_t>{0xbfd8319e, 0x3f981738, 0xbfa6276f, 0x3e1a786f, 0x400693ec,
                                   0x3f4c9694, 0x3e8210dc, 0xbf6dd672, 0x3f91f8bb, 0xbf10c665}));
  EXPECT_EQ(NormalBits({0, RandomPurpose::kPosteriorNoise, 0, 0}, 4),
            (std::vector<uint32_t>{0x3fc1d99b, 0xbf926182, 0xbe6b328c, 0x3e46c02b}));
}

TEST(FillNormalTest, HundredThousandValues_AreGoldenToTheBit) {
  std::vector<float> values(100000);
  FillNormal({7, RandomPurpose::kDiffusionNoise, 2, 1}, values);
  const std::string_view bytes(reinterpret_cast<const char*>(values.data()),
                               values.size() * sizeof(float));
  EXPECT_EQ(Sha256Hex(bytes), "09d6a1ca9caf7770a656f7141e8aecfa8083066917e4671d2cb0bf0f2e31c407");
}

TEST(FillNormalTest, ShorterDraw_IsAPrefix) {
  const RandomKey key{5, RandomPurpose::kSampler, 1, 2};
  const std::vector<uint32_t> all = NormalBits(key, 64);
  for (size_t n = 0; n < 64; ++n) {
    EXPECT_EQ(NormalBits(key, n), std::vector<uint32_t>(all.begin(), all.begin() + n)) << n;
  }
}

TEST(FillNormalTest, MomentsAreThoseOfANormal) {
  std::vector<float> values(1 << 20);
  FillNormal({11, RandomPurpose::kDiffusionNoise, 0, 0}, values);
  double sum = 0, squares = 0, fourth = 0;
  for (double v : values) {
    sum += v;
    squares += v * v;
    fourth += v * v * v * v;
  }
  const double n = values.size();
  // Five standard errors: 1/sqrt(n), sqrt(2/n), sqrt(96/n).
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96 / n));
}

TEST(FixedMathTest, AgreesWithTheCLibrary) {
  for (int i = 0; i < 200000; ++i) {
    const double u = (RandomWord({3, RandomPurpose::kSampler, 0, 0}, i) + 0.5) / 4294967296.0;
    ASSERT_NEAR(FixedLog(u), std::log(u), 5e-16 * std::abs(std::log(u))) << u;
    const SinCos turn = FixedSinCosTurns(u);
    // The library's argument 2 pi u is itself rounded: half a unit in the last place of 6.28.
    ASSERT_NEAR(turn.sin, std::sin(2 * M_PI * u), 1.5e-15) << u;
    ASSERT_NEAR(turn.cos, std::cos(2 * M_PI * u), 1.5e-15) << u;
  }
  EXPECT_EQ(FixedSinCosTurns(0.25).sin, 1.0);
  EXPECT_EQ(FixedSinCosTurns(0.5).cos, -1.0);
  EXPECT_EQ(FixedSinCosTurns(1.0).cos, 1.0);
  EXPECT_EQ(FixedLog(1.0), 0.0);
}

TEST(FixedMathTest, Pow_IsWithinOneUnitOfTheCLibrary) {
  for (const double base : {0.9, 0.99, 0.999, 0.5, 0.0, 1.0}) {
    for (uint64_t n = 0; n < 3000; ++n) {
      const double expected = std::pow(base, static_cast<double>(n));
      ASSERT_NEAR(FixedPow(base, n), expected, 2.3e-16 * expected) << base << "^" << n;
    }
  }
}

}  // namespace
}  // namespace neolog
