#include "worker/diffusion/noise_schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"

namespace neolog::diffusion {
namespace {

using ::neolog::testing::Normal;

// Published values of Stable Diffusion's schedule.
TEST(NoiseSchedule, StableDiffusion_HasKnownAlphas) {
  const std::pair<int, double> known[] = {{0, .99915000},   {1, .99829603},   {10, .99043131},
                                          {100, .89422348}, {250, .67379263}, {500, .27633268},
                                          {750, .05616985}, {900, .01415114}, {999, .00466010}};
  const at::Tensor reference = AlphasCumprodAsReference({});
  const std::vector<double> exact = AlphasCumprodExact({});
  ASSERT_EQ(reference.numel(), 1000);
  ASSERT_EQ(exact.size(), 1000u);
  for (const auto& [t, value] : known) {
    EXPECT_NEAR(reference[t].item<float>(), value, 5e-7) << t;  // a thousand float32 products
    EXPECT_NEAR(exact[t], value, 6e-9) << t;                    // eight printed digits
  }
}

TEST(NoiseSchedule, Linear_MultipliesBetas) {
  const NoiseScheduleConfig config{.beta_schedule = NoiseScheduleConfig::Betas::kLinear,
                                   .beta_start = 0.1,
                                   .beta_end = 0.3,
                                   .num_train_timesteps = 3};
  const std::vector<double> alphas = AlphasCumprodExact(config);
  ASSERT_EQ(alphas.size(), 3u);
  EXPECT_DOUBLE_EQ(alphas[0], 0.9);
  EXPECT_DOUBLE_EQ(alphas[1], 0.9 * 0.8);
  EXPECT_DOUBLE_EQ(alphas[2], 0.9 * 0.8 * 0.7);
  EXPECT_NEAR(AlphasCumprodAsReference(config)[2].item<float>(), 0.504, 1e-6);
}

TEST(NoiseSchedule, AddNoise_KeepsVarianceAndSample) {
  const at::Tensor alphas = at::tensor({1.0f, 0.25f});
  const at::Tensor z = Normal({2, 4, 3, 3}, 1), noise = Normal({2, 4, 3, 3}, 2);
  const at::Tensor mixed = AddNoise(alphas, z, noise, at::tensor({int64_t{0}, int64_t{1}}));
  EXPECT_TRUE(mixed[0].equal(z[0]));
  const at::Tensor expected = 0.5 * z[1] + std::sqrt(0.75) * noise[1];
  EXPECT_LT((mixed[1] - expected).abs().max().item<float>(), 1e-6);
}

// z and epsilon can be had back from z_t and v: z = √ᾱ z_t - √(1-ᾱ) v.
TEST(NoiseSchedule, Velocity_AndNoisyLatentsGiveTheLatentsBack) {
  const at::Tensor alphas = AlphasCumprodAsReference({});
  const at::Tensor z = Normal({1, 4, 3, 3}, 1), noise = Normal({1, 4, 3, 3}, 2),
                   t = at::tensor({int64_t{300}});
  const at::Tensor v = TrainingTarget(PredictionType::kVPrediction, alphas, z, noise, t);
  const double a = alphas[300].item<float>();
  const at::Tensor back = std::sqrt(a) * AddNoise(alphas, z, noise, t) - std::sqrt(1 - a) * v;
  EXPECT_LT((back - z).abs().max().item<float>(), 1e-5);
  EXPECT_TRUE(TrainingTarget(PredictionType::kEpsilon, alphas, z, noise, t).equal(noise));
}

}  // namespace
}  // namespace neolog::diffusion
