#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "common/checkpoint/config.h"
#include "worker/diffusion/model.h"

namespace neolog::diffusion {

/// ᾱ of every training timestep as diffusers' DDPMScheduler computes it, bit for bit: betas, 1 -
/// beta and the cumulative product in float32. [num_train_timesteps] float32. The training step
/// uses it.
at::Tensor AlphasCumprodAsReference(const NoiseScheduleConfig& config);

/// The same in float64 throughout: the samplers use it.
std::vector<double> AlphasCumprodExact(const NoiseScheduleConfig& config);

/// z_t = √ᾱ_t·z + √(1-ᾱ_t)·ε, in float32. `latents` z and `noise` ε [B, C, h, w] float32,
/// `timesteps` [B] int64, `alphas_cumprod` as Model::AlphasCumprod.
at::Tensor AddNoise(const at::Tensor& alphas_cumprod, const at::Tensor& latents,
                    const at::Tensor& noise, const at::Tensor& timesteps);

/// What the UNet should predict: ε, or the velocity √ᾱ_t·ε - √(1-ᾱ_t)·z. Arguments as AddNoise.
at::Tensor TrainingTarget(PredictionType prediction, const at::Tensor& alphas_cumprod,
                          const at::Tensor& latents, const at::Tensor& noise,
                          const at::Tensor& timesteps);

}  // namespace neolog::diffusion
