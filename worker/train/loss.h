#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "common/plan/step_plan.h"
#include "worker/dataset/posterior.h"
#include "worker/dataset/prompts.h"
#include "worker/dataset/size_conditioning.h"
#include "worker/diffusion/model.h"
#include "worker/train/denoising.h"

namespace neolog::train {

/// What one sample is computed from. The pointed-to things outlive the call.
struct SampleInput {
  PlannedSample plan;
  const dataset::EncodedPrompt* prompt = nullptr;
  const dataset::Posterior* posterior = nullptr;
  /// What a model with size conditioning is told of the picture.
  dataset::TimeIds time_ids{};
};

/// M samples as tensors.
struct MicrobatchInput {
  std::vector<const dataset::EncodedPrompt*> prompts;  // M
  at::Tensor time_ids;                                 // [M, 6] int64
  at::Tensor noisy;                                    // z_t, [M, C, h, w] float32
  at::Tensor target;     // what the model should predict, [M, C, h, w] float32
  at::Tensor timesteps;  // [M] int64
};

/// Draws the noise of `samples` and fills up to `size` slots with copies of the first. All in
/// float32, each sample on its own: z = (mean + exp(logvar / 2) n0) * scaling_factor, z_t =
/// sqrt(a_t) z + sqrt(1 - a_t) epsilon. Throws as libtorch does.
MicrobatchInput MakeMicrobatch(const diffusion::Model& model, std::span<const SampleInput> samples,
                               uint32_t size);

/// The same input on `device`. To a GPU it goes through pinned memory, and the host does not wait.
/// Throws as libtorch does.
MicrobatchInput Upload(const MicrobatchInput& input, c10::Device device);

/// Losses [M] float32 (mean squared error of each sample over channels and positions) and, unless
/// only the loss is asked for, the gradient of each with respect to its own copy of the rows, [M,
/// F] float32 with F the floats of all encoders' rows. Both on the CPU.
struct MicrobatchResult {
  at::Tensor losses;
  at::Tensor gradients;
  /// A gradient is not finite although every loss is: in fp16, to be computed again with a lower
  /// loss scale.
  bool overflowed = false;
};

/// Denoise, or a way to it that gives the same.
using Denoiser = std::function<DenoisingResult(const DenoisingInput&)>;

/// A microbatch that the device may still be working on.
class LaunchedMicrobatch {
 public:
  /// Waits for it. Throws as libtorch does.
  MicrobatchResult Read() const;

 private:
  friend LaunchedMicrobatch Launch(const diffusion::Model&, const Denoiser&, const MicrobatchInput&,
                                   uint32_t, const at::Tensor&, float);
  at::Tensor losses_, gradients_;  // on the device
  float loss_scale_ = 1;
};

/// Runs the model forward and backward on a microbatch, the UNet's part of it by `denoise`; samples
/// from `count` on have weight 0. `input` is on the model's device, `rows` [F] float32, every
/// encoder's rows (diffusion::RowBlocks), on the CPU. The losses are multiplied with `loss_scale`
/// before the backward pass and the gradients divided by it after (see LossScale). Throws as
/// libtorch does.
LaunchedMicrobatch Launch(const diffusion::Model& model, const Denoiser& denoise,
                          const MicrobatchInput& input, uint32_t count, const at::Tensor& rows,
                          float loss_scale);

/// Uploads, launches with Denoise and reads.
MicrobatchResult ComputeLossAndGradient(const diffusion::Model& model, const MicrobatchInput& input,
                                        uint32_t count, const at::Tensor& rows,
                                        float loss_scale = 1);

/// The same without the gradient. Throws as libtorch does.
at::Tensor ComputeLoss(const diffusion::Model& model, const MicrobatchInput& input,
                       const at::Tensor& rows);

}  // namespace neolog::train
