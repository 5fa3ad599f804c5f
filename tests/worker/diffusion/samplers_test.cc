#include "worker/diffusion/samplers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "worker/diffusion/noise_schedule.h"

namespace neolog::diffusion {
namespace {

using ::neolog::testing::Normal;
using ::neolog::testing::StatusIs;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Sampler> Make(const SamplerOptions& options) {
  auto sampler = MakeSampler(options);
  EXPECT_OK(sampler);
  return std::move(sampler).value();
}

// Noise levels of Stable Diffusion as k-diffusion prints them: 14.6146 at timestep 999, 7.8399 at
// 888, 0.0292 at 0.
TEST(EulerAncestral, Sigmas_AreKDiffusions) {
  const auto sampler = Make({.name = "euler_a", .steps = 10});
  EXPECT_EQ(sampler->schedule_name(), "sigmas");
  const std::vector<double>& sigmas = sampler->schedule();
  ASSERT_EQ(sigmas.size(), 11u);
  EXPECT_NEAR(sigmas[0], 14.6146, 1e-4);
  EXPECT_NEAR(sigmas[1], 7.8399, 1e-4);
  EXPECT_NEAR(sigmas[9], 0.0292, 1e-4);
  EXPECT_EQ(sigmas[10], 0);
  EXPECT_THAT(Make({.name = "euler_a", .steps = 1})->schedule(),
              ElementsAre(DoubleNear(14.6146, 1e-4), 0.0));
}

TEST(Ddim, Timesteps_AreA1111s) {
  const auto sampler = Make({.name = "ddim", .steps = 5});
  EXPECT_EQ(sampler->schedule_name(), "timesteps");
  EXPECT_THAT(sampler->schedule(), ElementsAre(801, 601, 401, 201, 1));
  // 1000/3 is 333: four timesteps, and the model has none at 1000.
  EXPECT_THAT(Make({.name = "ddim", .steps = 3})->schedule(), ElementsAre(999, 667, 334, 1));
  EXPECT_EQ(Make({.name = "ddim", .steps = 1000})->schedule().size(), 1000u);
}

struct ExactCase {
  const char* name;
  const char* sampler;
  double eta;
  PredictionType prediction;
};
class ExactModel : public ::testing::TestWithParam<ExactCase> {
 protected:
  // A model that knows the picture: the noise or velocity of x, whatever timestep is asked for.
  static at::Tensor Predict(PredictionType prediction, const std::vector<double>& alphas,
                            const at::Tensor& x, double t, const at::Tensor& picture) {
    const auto low = static_cast<size_t>(t);
    const double w = t - std::floor(t);
    const auto log_sigma = [&](size_t i) { return 0.5 * std::log((1 - alphas[i]) / alphas[i]); };
    const double sigma =
        std::exp((1 - w) * log_sigma(low) + w * log_sigma(std::min(low + 1, alphas.size() - 1)));
    const double a = 1 / (1 + sigma * sigma);
    const at::Tensor noise = (x - std::sqrt(a) * picture) / std::sqrt(1 - a);
    if (prediction == PredictionType::kEpsilon) return noise;
    return std::sqrt(a) * noise - std::sqrt(1 - a) * picture;
  }
};

// Whatever noise is added on the way, such a model leads to its picture.
TEST_P(ExactModel, ReachesItsPicture) {
  const ExactCase& p = GetParam();
  const auto sampler =
      Make({.name = p.sampler, .steps = 20, .eta = p.eta, .prediction = p.prediction});
  const auto alphas = AlphasCumprodExact({});
  const at::Tensor picture = Normal({1, 4, 2, 2}, 5);
  const auto predict = [&](const at::Tensor& x, double t) {
    const at::Tensor raw = Predict(p.prediction, alphas, x, t, picture);
    return GuidedPrediction{raw, raw};
  };
  std::vector<int> asked;
  const at::Tensor result = sampler->Sample(predict, 7.5, [&](int i) {
    asked.push_back(i);
    return Normal({1, 4, 2, 2}, 100 + i);
  });
  // DDIM ends at the noise level of timestep 0, not at 0.
  const double rest = std::string(p.sampler) == "ddim" ? 0.12 : 1e-4;
  EXPECT_LT((result - picture).abs().max().item<float>(), rest);
  ASSERT_FALSE(asked.empty());
  EXPECT_EQ(static_cast<int>(asked.size()), 1 + sampler->draws());
  for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(asked[i], static_cast<int>(i));
}
INSTANTIATE_TEST_SUITE_P(
    Samplers, ExactModel,
    ::testing::Values(ExactCase{"euler_a", "euler_a", 1, PredictionType::kEpsilon},
                      ExactCase{"euler_a_without_noise", "euler_a", 0, PredictionType::kEpsilon},
                      ExactCase{"euler_a_velocity", "euler_a", 1, PredictionType::kVPrediction},
                      ExactCase{"ddim", "ddim", 0, PredictionType::kEpsilon},
                      ExactCase{"ddim_noisy", "ddim", 1, PredictionType::kEpsilon},
                      ExactCase{"ddim_velocity", "ddim", 0, PredictionType::kVPrediction}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Samplers, Guidance_GoesBeyondTheConditional) {
  // One step of euler_a with both predictions zero-sum: the result is sigma times -(u + cfg (c -
  // u)).
  const auto sampler = Make({.name = "euler_a", .steps = 1});
  const at::Tensor u = at::ones({1, 1, 1, 1}), c = 3 * at::ones({1, 1, 1, 1});
  const double sigma = sampler->schedule()[0];
  const at::Tensor x = sampler->Sample(
      [&](const at::Tensor&, double) {
        return GuidedPrediction{u, c};
      },
      2.0,
      [](int) {
        return at::zeros({1, 1, 1, 1});
      });
  EXPECT_NEAR(x.item<float>(), -sigma * 5, 1e-4);
}

TEST(Samplers, ModelInput_IsScaledAndTimestepUnrounded) {
  const auto sampler = Make({.name = "euler_a", .steps = 8});
  std::vector<double> timesteps;
  double first_input = 0;
  sampler->Sample(
      [&](const at::Tensor& x, double t) {
        if (timesteps.empty()) first_input = x.item<float>();
        timesteps.push_back(t);
        return GuidedPrediction{x, x};
      },
      1.0,
      [](int) {
        return at::ones({1, 1, 1, 1});
      });
  ASSERT_EQ(timesteps.size(), 8u);
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(timesteps[i], 999.0 * (7 - i) / 7, 1e-6);
  const double sigma = sampler->schedule()[0];
  EXPECT_NEAR(first_input, sigma / std::sqrt(sigma * sigma + 1), 1e-6);
}

TEST(Samplers, Progress_CanStop) {
  int calls = 0;
  const auto sampler = Make({.name = "ddim", .steps = 10});
  sampler->Sample(
      [&](const at::Tensor& x, double) {
        return GuidedPrediction{x, x};
      },
      1.0,
      [](int) {
        return at::ones({1, 1, 1, 1});
      },
      [&](int step, int steps) {
        ++calls;
        EXPECT_EQ(steps, 10);
        return step < 3;
      });
  EXPECT_EQ(calls, 3);
}

struct BadCase {
  const char* name;
  SamplerOptions options;
  const char* message;
};
class BadSampler : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadSampler, IsRefused) {
  EXPECT_THAT(MakeSampler(GetParam().options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
}
INSTANTIATE_TEST_SUITE_P(
    Options, BadSampler,
    ::testing::Values(
        BadCase{
            "name", {.name = "euler_b"}, "sampler 'euler_b' is not known; known: euler_a, ddim"},
        BadCase{"no_steps", {.steps = 0}, "steps is 0; expected 1 to 1000"},
        BadCase{"many_steps", {.steps = 1001}, "steps is 1001"},
        BadCase{"eta", {.eta = -0.1}, "eta is -0.1"},
        BadCase{"eta_nan", {.eta = std::numeric_limits<double>::quiet_NaN()}, "eta is nan"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace neolog::diffusion
