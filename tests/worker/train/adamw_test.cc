#include "worker/train/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/plan/philox.h"

namespace neolog::train {
namespace {

struct Trained {
  std::vector<float> rows, exp_avg, exp_avg_sq;
  explicit Trained(std::vector<float> first)
      : rows(std::move(first)), exp_avg(rows.size()), exp_avg_sq(rows.size()) {}
  void Step(const AdamWOptions& options, double lr, uint64_t step, const std::vector<float>& g) {
    AdamWStep(options, lr, step, g, {rows, exp_avg, exp_avg_sq});
  }
};

TEST(AdamWTest, FirstStep_IsTheLearningRateAgainstTheSign) {
  Trained run({1, 1, 1});
  run.Step({}, 0.125, 1, {3, -0.5, 1e-3});
  EXPECT_NEAR(run.rows[0], 0.875, 1e-6);
  EXPECT_NEAR(run.rows[1], 1.125, 1e-6);
  EXPECT_NEAR(run.rows[2], 0.875, 2e-6);  // epsilon against 1e-3
}

TEST(AdamWTest, WeightDecay_IsDecoupled) {
  Trained run({2});
  run.Step({.weight_decay = 0.5}, 0.1, 1, {0});
  EXPECT_FLOAT_EQ(run.rows[0], 2 * (1 - 0.1 * 0.5));
  EXPECT_EQ(run.exp_avg[0], 0);
  EXPECT_EQ(run.exp_avg_sq[0], 0);
}

TEST(AdamWTest, Values_DoNotDependOnTheirNeighbours) {
  std::vector<float> first(97), gradient(97);
  FillNormal({1, RandomPurpose::kDiffusionNoise, 0, 0}, first);
  FillNormal({1, RandomPurpose::kDiffusionNoise, 1, 0}, gradient);
  Trained together(first);
  for (uint64_t step = 1; step <= 5; ++step) together.Step({}, 0.03, step, gradient);
  for (size_t i = 0; i < first.size(); ++i) {
    Trained alone({first[i]});
    for (uint64_t step = 1; step <= 5; ++step) alone.Step({}, 0.03, step, {gradient[i]});
    EXPECT_EQ(alone.rows[0], together.rows[i]) << i;
  }
}

// The update in double, as the header states it: float32 loses a few parts in 2^24 in each of some
// ten operations.
TEST(AdamWTest, FollowsTheFormula) {
  for (const AdamWOptions& options :
       {AdamWOptions{},
        AdamWOptions{.beta1 = 0.3, .beta2 = 0.9, .epsilon = 1e-4, .weight_decay = 0.01}}) {
    Trained run({0.4f});
    double row = run.rows[0], m = 0, v = 0;
    for (uint64_t step = 1; step <= 50; ++step) {
      std::vector<float> g(1);
      FillNormal({2, RandomPurpose::kDiffusionNoise, static_cast<uint32_t>(step), 0}, g);
      run.Step(options, 0.01, step, g);
      row *= 1 - 0.01 * options.weight_decay;
      m = options.beta1 * m + (1 - options.beta1) * g[0];
      v = options.beta2 * v + (1 - options.beta2) * g[0] * g[0];
      const double n = static_cast<double>(step);
      row -= 0.01 * (m / (1 - std::pow(options.beta1, n))) /
             (std::sqrt(v / (1 - std::pow(options.beta2, n))) + options.epsilon);
      ASSERT_NEAR(run.rows[0], row, 2e-6) << step;
    }
  }
}

}  // namespace
}  // namespace neolog::train
