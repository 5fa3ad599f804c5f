#include "worker/diffusion/noise_schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linspace.h>

#include <cmath>

namespace neolog::diffusion {
namespace {

// [B] values of the schedule, shaped to multiply [B, C, h, w].
at::Tensor AtTimesteps(const at::Tensor& values, const at::Tensor& timesteps) {
  return at::index_select(values, 0, timesteps.to(values.device())).view({-1, 1, 1, 1});
}

}  // namespace

at::Tensor AlphasCumprodAsReference(const NoiseScheduleConfig& config) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const bool scaled = config.beta_schedule == NoiseScheduleConfig::Betas::kScaledLinear;
  const double start = scaled ? std::sqrt(config.beta_start) : config.beta_start;
  const double end = scaled ? std::sqrt(config.beta_end) : config.beta_end;
  at::Tensor betas = at::linspace(start, end, config.num_train_timesteps, options);
  if (scaled) betas = betas.pow(2);
  return at::cumprod(1.0 - betas, 0);
}

std::vector<double> AlphasCumprodExact(const NoiseScheduleConfig& config) {
  const bool scaled = config.beta_schedule == NoiseScheduleConfig::Betas::kScaledLinear;
  const double start = scaled ? std::sqrt(config.beta_start) : config.beta_start;
  const double end = scaled ? std::sqrt(config.beta_end) : config.beta_end;
  const double step = (end - start) / static_cast<double>(config.num_train_timesteps - 1);
  std::vector<double> alphas;
  alphas.reserve(config.num_train_timesteps);
  double product = 1;
  for (int64_t i = 0; i < config.num_train_timesteps; ++i) {
    const double x =
        i + 1 == config.num_train_timesteps ? end : start + step * static_cast<double>(i);
    product *= 1 - (scaled ? x * x : x);
    alphas.push_back(product);
  }
  return alphas;
}

at::Tensor AddNoise(const at::Tensor& alphas_cumprod, const at::Tensor& latents,
                    const at::Tensor& noise, const at::Tensor& timesteps) {
  const at::Tensor a = AtTimesteps(alphas_cumprod, timesteps);
  return a.sqrt() * latents + (1.0 - a).sqrt() * noise;
}

at::Tensor TrainingTarget(PredictionType prediction, const at::Tensor& alphas_cumprod,
                          const at::Tensor& latents, const at::Tensor& noise,
                          const at::Tensor& timesteps) {
  if (prediction == PredictionType::kEpsilon) return noise;
  const at::Tensor a = AtTimesteps(alphas_cumprod, timesteps);
  return a.sqrt() * noise - (1.0 - a).sqrt() * latents;
}

}  // namespace neolog::diffusion
