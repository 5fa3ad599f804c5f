#include "worker/train/prepared_inputs.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

namespace neolog::train {
namespace {

using Place = PreparedInputs::Place;

// An input that can be told from others.
MicrobatchInput Input(int64_t number) {
  MicrobatchInput input;
  input.timesteps = at::full({1}, number, at::kLong);
  return input;
}

TEST(PreparedInputsTest, Follow_ExpectsWhatFollowedTheLastTime) {
  PreparedInputs inputs;
  // Two microbatches of a step, of two runs; nothing is known in the first step.
  EXPECT_EQ(inputs.Follow({0, 7, 4}), std::nullopt);
  EXPECT_EQ(inputs.Follow({1, 7, 0}), std::nullopt);
  EXPECT_EQ(inputs.Follow({0, 8, 4}), (Place{1, 8, 0}));
  EXPECT_EQ(inputs.Follow({1, 8, 0}), (Place{0, 9, 4}));
  // The member's part has changed: known again after it was seen once.
  EXPECT_EQ(inputs.Follow({0, 9, 2}), std::nullopt);
  EXPECT_EQ(inputs.Follow({0, 10, 2}), (Place{0, 11, 2}));
}

TEST(PreparedInputsTest, Follow_GoesBackWithAStateThatWasLoadedAgain) {
  PreparedInputs inputs;
  inputs.Follow({0, 9, 0});
  EXPECT_EQ(inputs.Follow({0, 3, 0}), std::nullopt) << "an earlier step follows nothing";
  EXPECT_EQ(inputs.Follow({0, 4, 0}), (Place{0, 5, 0}));
}

TEST(PreparedInputsTest, Take_GivesOnlyWhatWasPreparedForThatPlace_Once) {
  PreparedInputs inputs;
  EXPECT_FALSE(inputs.Take({0, 1, 0}).has_value());
  inputs.Keep({0, 1, 0}, Input(5));
  const auto taken = inputs.Take({0, 1, 0});
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->timesteps.item<int64_t>(), 5);
  EXPECT_FALSE(inputs.Take({0, 1, 0}).has_value());
  inputs.Keep({0, 2, 0}, Input(6));
  EXPECT_FALSE(inputs.Take({0, 2, 4}).has_value());
  EXPECT_FALSE(inputs.Take({0, 2, 0}).has_value()) << "a wrong guess is thrown away";
}

}  // namespace
}  // namespace neolog::train
