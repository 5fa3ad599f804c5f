#include "common/plan/step_plan.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::testing::HasSubstr;

v1::RunSpec Spec(uint64_t seed, uint32_t images, uint32_t templates, uint32_t batch,
                 uint32_t accumulation) {
  v1::RunSpec spec;
  spec.set_name("zesko");
  for (uint32_t i = 0; i < images; ++i) spec.mutable_data()->add_samples();
  for (uint32_t i = 0; i < templates; ++i) spec.mutable_data()->add_templates("a photo of zesko");
  spec.mutable_data()->set_flip(true);
  spec.mutable_training()->set_seed(seed);
  spec.mutable_training()->set_steps(1000);
  spec.mutable_training()->set_batch_size(batch);
  spec.mutable_training()->set_gradient_accumulation(accumulation);
  spec.mutable_validation()->set_draws_per_image(4);
  return spec;
}

// Golden values: the rules in the header, evaluated apart from this code in Python.
TEST(StepPlanTest, Samples_AreGolden) {
  ASSERT_OK_AND_ASSIGN(StepPlan plan, StepPlan::Create(Spec(42, 6, 27, 2, 2)));
  using Expected = std::tuple<uint64_t, uint32_t, uint32_t, bool, uint32_t, uint32_t>;
  const std::vector<Expected> golden = {{0, 0, 5, false, 17, 335}, {0, 1, 1, false, 23, 318},
                                        {0, 2, 4, false, 18, 183}, {0, 3, 3, false, 13, 176},
                                        {1, 0, 0, true, 23, 755},  {1, 1, 2, true, 5, 119},
                                        {9, 3, 0, false, 7, 433},  {350, 2, 3, true, 10, 890}};
  for (const auto& [step, index, image, flip, prompt, timestep] : golden) {
    const PlannedSample sample = plan.Sample(step, index);
    EXPECT_EQ(std::tuple(step, index, sample.image, sample.flip, sample.prompt, sample.timestep),
              Expected(step, index, image, flip, prompt, timestep));
    const uint32_t k = static_cast<uint32_t>(step);
    EXPECT_EQ(sample.posterior_noise, (RandomKey{42, RandomPurpose::kPosteriorNoise, k, index}));
    EXPECT_EQ(sample.diffusion_noise, (RandomKey{42, RandomPurpose::kDiffusionNoise, k, index}));
  }
}

TEST(StepPlanTest, EveryEpoch_ShowsEveryPictureOnce) {
  EXPECT_TRUE(rc::check([] {
    const auto images = *rc::gen::inRange<uint32_t>(1, 40);
    const auto batch = *rc::gen::inRange<uint32_t>(1, 9);
    const auto seed = *rc::gen::arbitrary<uint64_t>();
    auto plan = StepPlan::Create(Spec(seed, images, 3, batch, 1));
    RC_ASSERT(plan.ok());
    std::vector<uint32_t> seen;
    for (uint64_t n = 0; n < 3 * images; ++n) {
      seen.push_back(plan->Sample(n / batch, static_cast<uint32_t>(n % batch)).image);
    }
    for (uint32_t epoch = 0; epoch < 3; ++epoch) {
      const auto begin = seen.begin() + epoch * images;
      RC_ASSERT(std::set<uint32_t>(begin, begin + images).size() == images);
    }
  }));
}

TEST(StepPlanTest, Sample_DoesNotDependOnTheOrderOfAsking) {
  EXPECT_TRUE(rc::check([] {
    const auto seed = *rc::gen::arbitrary<uint64_t>();
    auto forward = StepPlan::Create(Spec(seed, 7, 5, 4, 3));
    auto backward = StepPlan::Create(Spec(seed, 7, 5, 4, 3));
    std::vector<PlannedSample> samples;
    for (uint32_t i = 0; i < 12; ++i) samples.push_back(forward->Sample(5, i));
    for (uint32_t i = 12; i-- > 0;) RC_ASSERT(backward->Sample(5, i) == samples[i]);
  }));
}

TEST(StepPlanTest, BatchAndAccumulation_SplitTheSameSamples) {
  ASSERT_OK_AND_ASSIGN(StepPlan wide, StepPlan::Create(Spec(9, 5, 5, 6, 1)));
  ASSERT_OK_AND_ASSIGN(StepPlan deep, StepPlan::Create(Spec(9, 5, 5, 2, 3)));
  for (uint32_t i = 0; i < 6; ++i) EXPECT_EQ(wide.Sample(3, i), deep.Sample(3, i)) << i;
}

TEST(StepPlanTest, Draws_AreSpreadEvenly) {
  ASSERT_OK_AND_ASSIGN(StepPlan plan, StepPlan::Create(Spec(1, 6, 4, 4, 1)));
  std::map<uint32_t, int> prompts;
  std::vector<int> tenths(10);
  int flips = 0;
  for (uint64_t step = 0; step < 2500; ++step) {
    for (uint32_t i = 0; i < 4; ++i) {
      const PlannedSample s = plan.Sample(step, i);
      ++prompts[s.prompt];
      ++tenths[s.timestep / 100];
      flips += s.flip;
      ASSERT_LT(s.timestep, kTimesteps);
    }
  }
  // 10,000 draws; five standard deviations.
  EXPECT_EQ(prompts.size(), 4u);
  for (const auto& [prompt, count] : prompts) EXPECT_NEAR(count, 2500, 217) << prompt;
  for (int count : tenths) EXPECT_NEAR(count, 1000, 150);
  EXPECT_NEAR(flips, 5000, 250);
}

TEST(StepPlanTest, FlipOff_NeverFlips) {
  v1::RunSpec spec = Spec(1, 6, 4, 4, 1);
  spec.mutable_data()->set_flip(false);
  ASSERT_OK_AND_ASSIGN(StepPlan plan, StepPlan::Create(spec));
  for (uint32_t i = 0; i < 100; ++i) EXPECT_FALSE(plan.Sample(i, 0).flip);
}

TEST(StepPlanTest, ValidationDraws_AreStratifiedAndNeverThoseOfTraining) {
  ASSERT_OK_AND_ASSIGN(StepPlan plan, StepPlan::Create(Spec(3, 6, 4, 4, 1)));
  ASSERT_EQ(plan.validation_draws(), 4u);
  for (uint32_t image = 0; image < 6; ++image) {
    for (uint32_t draw = 0; draw < 4; ++draw) {
      const PlannedSample s = plan.ValidationDraw(image, draw);
      EXPECT_EQ(s.image, image);
      EXPECT_FALSE(s.flip);
      EXPECT_EQ(s.timestep / 250, draw);
      EXPECT_EQ(s.diffusion_noise.purpose, RandomPurpose::kValidationNoise);
      EXPECT_EQ(s.posterior_noise.purpose, RandomPurpose::kValidationPosterior);
    }
  }
}

TEST(StepPlanTest, UnusableSpecs_AreRefused) {
  EXPECT_THAT(StepPlan::Create(Spec(1, 0, 1, 1, 1)),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data.samples")));
  EXPECT_THAT(
      StepPlan::Create(Spec(1, 1, 1, 0, 1)),
      testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("training.batch_size")));
  EXPECT_THAT(StepPlan::Create(Spec(1, 1, 1, 4096, 4096)),
              testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16777216")));
}

}  // namespace
}  // namespace neolog
