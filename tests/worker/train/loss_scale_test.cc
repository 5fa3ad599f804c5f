#include "worker/train/loss_scale.h"

#include <gtest/gtest.h>

#include <limits>

namespace neolog::train {
namespace {

TEST(LossScaleTest, StartsHigh_AndIsHalvedByEveryStepThatOverflowed) {
  LossScale scale;
  EXPECT_EQ(scale.factor(), 65536);
  scale.AfterStep(true);
  EXPECT_EQ(scale.factor(), 32768);
  scale.AfterStep(false);
  EXPECT_EQ(scale.factor(), 32768);
  EXPECT_EQ(scale.steps(), 1u);
  scale.AfterStep(true);
  EXPECT_EQ(scale.factor(), 16384);
  EXPECT_EQ(scale.steps(), 0u);
}

TEST(LossScaleTest, IsDoubled_AfterTwoThousandStepsWithoutOverflow) {
  LossScale scale;
  for (uint32_t i = 0; i + 1 < LossScale::kGrowthInterval; ++i) scale.AfterStep(false);
  EXPECT_EQ(scale.factor(), 65536);
  scale.AfterStep(false);
  EXPECT_EQ(scale.factor(), 131072);
  EXPECT_EQ(scale.steps(), 0u);
}

TEST(LossScaleTest, StaysWithinItsBounds) {
  LossScale low, high;
  for (int i = 0; i < 100; ++i) low.AfterStep(true);
  EXPECT_EQ(low.factor(), LossScale::kSmallest);
  for (uint32_t i = 0; i < 20 * LossScale::kGrowthInterval; ++i) high.AfterStep(false);
  EXPECT_EQ(high.factor(), LossScale::kLargest);
  EXPECT_TRUE(LossScale::IsValid(low.factor(), low.steps()));
  EXPECT_TRUE(LossScale::IsValid(high.factor(), high.steps()));
}

TEST(LossScaleTest, IsValid_OnlyForPowersOfTwoWithinBounds) {
  for (const float bad :
       {0.0f, -2.0f, 3.0f, LossScale::kSmallest / 2, LossScale::kLargest * 2,
        std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_FALSE(LossScale::IsValid(bad, 0)) << bad;
  }
  EXPECT_FALSE(LossScale::IsValid(65536, LossScale::kGrowthInterval));
  EXPECT_TRUE(LossScale::IsValid(65536, LossScale::kGrowthInterval - 1));
}

}  // namespace
}  // namespace neolog::train
