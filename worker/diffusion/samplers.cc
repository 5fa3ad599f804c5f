#include "worker/diffusion/samplers.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/diffusion/noise_schedule.h"

namespace neolog::diffusion {
namespace {

// Noise levels of the training timesteps and the way between the two: linear in the logarithm of
// sigma.
class SigmaTable {
 public:
  explicit SigmaTable(const NoiseScheduleConfig& config) {
    for (const double a : AlphasCumprodExact(config))
      log_sigmas_.push_back(std::log(std::sqrt((1 - a) / a)));
  }
  double Sigma(double timestep) const {
    const auto low = static_cast<size_t>(std::floor(timestep));
    const auto high = std::min(low + 1, log_sigmas_.size() - 1);
    const double weight = timestep - std::floor(timestep);
    return std::exp((1 - weight) * log_sigmas_[low] + weight * log_sigmas_[high]);
  }
  double Timestep(double sigma) const {
    const double x = std::log(sigma);
    const auto above =
        std::upper_bound(log_sigmas_.begin(), log_sigmas_.end(), x) - log_sigmas_.begin();
    const auto low =
        std::clamp<int64_t>(above - 1, 0, static_cast<int64_t>(log_sigmas_.size()) - 2);
    const double weight =
        std::clamp((log_sigmas_[low] - x) / (log_sigmas_[low] - log_sigmas_[low + 1]), 0.0, 1.0);
    return static_cast<double>(low) + weight;
  }

 private:
  std::vector<double> log_sigmas_;
};

at::Tensor Guide(const at::Tensor& unconditional, const at::Tensor& conditional, double cfg) {
  return unconditional + cfg * (conditional - unconditional);
}

// Euler with ancestral noise (k-diffusion's sample_euler_ancestral).
class EulerAncestral : public Sampler {
 public:
  explicit EulerAncestral(const SamplerOptions& options)
      : table_(options.noise_schedule),
        prediction_(options.prediction),
        eta_(options.eta.value_or(1.0)) {
    const double last = static_cast<double>(options.noise_schedule.num_train_timesteps - 1);
    for (int i = 0; i < options.steps; ++i) {
      // linspace(last, 0, steps); a single step starts at the top.
      const double t =
          options.steps == 1 ? last : last * (options.steps - 1 - i) / (options.steps - 1);
      sigmas_.push_back(table_.Sigma(t));
    }
    sigmas_.push_back(0);
  }

  std::string_view schedule_name() const override { return "sigmas"; }
  const std::vector<double>& schedule() const override { return sigmas_; }
  int steps() const override { return static_cast<int>(sigmas_.size()) - 1; }
  int draws() const override { return eta_ > 0 ? steps() - 1 : 0; }

  at::Tensor Sample(const Predictor& predict, double cfg, const NoiseSource& noise,
                    const SamplerProgress& progress) const override {
    const at::NoGradGuard no_grad;
    at::Tensor x = noise(0) * sigmas_[0];
    for (int i = 0; i < steps(); ++i) {
      const double sigma = sigmas_[i], next = sigmas_[i + 1];
      const GuidedPrediction raw =
          predict(x / std::sqrt(sigma * sigma + 1), table_.Timestep(sigma));
      const at::Tensor denoised =
          Guide(Denoised(x, raw.unconditional, sigma), Denoised(x, raw.conditional, sigma), cfg);
      const double up =
          next == 0 ? 0
                    : std::min(next, eta_ * std::sqrt(next * next * (sigma * sigma - next * next) /
                                                      (sigma * sigma)));
      const double down = std::sqrt(next * next - up * up);
      x = x + (x - denoised) / sigma * (down - sigma);
      if (up > 0) x = x + noise(i + 1) * up;
      if (progress && !progress(i + 1, steps())) break;
    }
    return x;
  }

 private:
  at::Tensor Denoised(const at::Tensor& x, const at::Tensor& raw, double sigma) const {
    if (prediction_ == PredictionType::kEpsilon) return x - raw * sigma;
    const double variance = sigma * sigma + 1;
    return x / variance - raw * (sigma / std::sqrt(variance));
  }

  SigmaTable table_;
  PredictionType prediction_;
  double eta_;
  std::vector<double> sigmas_;
};

// DDIM over evenly spaced timesteps, all of them used.
class Ddim : public Sampler {
 public:
  explicit Ddim(const SamplerOptions& options)
      : alphas_(AlphasCumprodExact(options.noise_schedule)),
        prediction_(options.prediction),
        eta_(options.eta.value_or(0.0)) {
    const int64_t count = options.noise_schedule.num_train_timesteps;
    for (int64_t t = 0; t < count; t += count / options.steps) {
      // A stride that does not divide can end on `count` itself, which the model has never seen.
      timesteps_.push_back(static_cast<double>(std::min(t + 1, count - 1)));
    }
    std::reverse(timesteps_.begin(), timesteps_.end());
  }

  std::string_view schedule_name() const override { return "timesteps"; }
  const std::vector<double>& schedule() const override { return timesteps_; }
  int steps() const override { return static_cast<int>(timesteps_.size()); }
  int draws() const override { return eta_ > 0 ? steps() : 0; }

  at::Tensor Sample(const Predictor& predict, double cfg, const NoiseSource& noise,
                    const SamplerProgress& progress) const override {
    const at::NoGradGuard no_grad;
    at::Tensor x = noise(0);
    for (int i = 0; i < steps(); ++i) {
      const double a = alphas_[static_cast<size_t>(timesteps_[i])];
      const double previous =
          i + 1 < steps() ? alphas_[static_cast<size_t>(timesteps_[i + 1])] : alphas_[0];
      const GuidedPrediction raw = predict(x, timesteps_[i]);
      const at::Tensor epsilon =
          Guide(Noise(x, raw.unconditional, a), Noise(x, raw.conditional, a), cfg);
      const double sigma = eta_ * std::sqrt((1 - previous) / (1 - a) * (1 - a / previous));
      const at::Tensor start = (x - std::sqrt(1 - a) * epsilon) / std::sqrt(a);
      x = std::sqrt(previous) * start +
          std::sqrt(std::max(0.0, 1 - previous - sigma * sigma)) * epsilon;
      if (sigma > 0) x = x + sigma * noise(i + 1);
      if (progress && !progress(i + 1, steps())) break;
    }
    return x;
  }

 private:
  at::Tensor Noise(const at::Tensor& x, const at::Tensor& raw, double a) const {
    return prediction_ == PredictionType::kEpsilon ? raw
                                                   : std::sqrt(a) * raw + std::sqrt(1 - a) * x;
  }

  std::vector<double> alphas_;
  PredictionType prediction_;
  double eta_;
  std::vector<double> timesteps_;
};

}  // namespace

const std::vector<std::string>& SamplerNames() {
  static const std::vector<std::string> names{"euler_a", "ddim"};
  return names;
}

absl::StatusOr<std::unique_ptr<Sampler>> MakeSampler(const SamplerOptions& options) {
  if (std::find(SamplerNames().begin(), SamplerNames().end(), options.name) ==
      SamplerNames().end()) {
    return InvalidArgument(fmt::format("sampler '{}' is not known; known: {}", options.name,
                                       fmt::join(SamplerNames(), ", ")));
  }
  if (options.steps < 1 || options.steps > options.noise_schedule.num_train_timesteps) {
    return InvalidArgument(fmt::format("steps is {}; expected 1 to {}", options.steps,
                                       options.noise_schedule.num_train_timesteps));
  }
  if (options.eta && !(std::isfinite(*options.eta) && *options.eta >= 0)) {
    return InvalidArgument(fmt::format("eta is {}; expected a number of at least 0", *options.eta));
  }
  std::unique_ptr<Sampler> sampler;
  if (options.name == "ddim") {
    sampler = std::make_unique<Ddim>(options);
  } else {
    sampler = std::make_unique<EulerAncestral>(options);
  }
  return sampler;
}

}  // namespace neolog::diffusion
