#include "worker/train/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "common/plan/philox.h"
#include "worker/diffusion/noise_schedule.h"
#include "worker/torch_support/gradient.h"
#include "worker/train/guard.h"

namespace neolog::train {
namespace {

at::Tensor NormalLike(const at::Tensor& shape, const RandomKey& key) {
  at::Tensor noise = at::empty(shape.sizes(), at::kFloat);
  FillNormal(key, {noise.data_ptr<float>(), static_cast<size_t>(noise.numel())});
  return noise;
}

std::span<const float> ValuesOf(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

// On a GPU through pinned memory, so that the host does not wait for the copy.
at::Tensor To(const at::Tensor& tensor, c10::Device device) {
  if (!tensor.defined() || device.is_cpu()) return tensor;
  return tensor.pin_memory().to(device, tensor.scalar_type(), /*non_blocking=*/true);
}

}  // namespace

MicrobatchInput MakeMicrobatch(const diffusion::Model& model, std::span<const SampleInput> samples,
                               uint32_t size) {
  const at::NoGradGuard no_grad;
  const at::Tensor alphas = model.AlphasCumprod().cpu();
  std::vector<const dataset::EncodedPrompt*> prompts;
  std::vector<at::Tensor> time_ids, noisy, targets, timesteps;
  for (const SampleInput& sample : samples) {
    const at::Tensor n0 = NormalLike(sample.posterior->mean, sample.plan.posterior_noise);
    const at::Tensor epsilon =
        NormalLike(sample.posterior->mean, sample.plan.diffusion_noise).unsqueeze(0);
    const at::Tensor z =
        dataset::DrawLatent(*sample.posterior, n0, model.info().scaling_factor).unsqueeze(0);
    const at::Tensor t = at::full({1}, static_cast<int64_t>(sample.plan.timestep), at::kLong);
    prompts.push_back(sample.prompt);
    time_ids.push_back(at::tensor(at::ArrayRef<int64_t>(sample.time_ids), at::kLong));
    noisy.push_back(diffusion::AddNoise(alphas, z, epsilon, t));
    targets.push_back(diffusion::TrainingTarget(model.info().prediction, alphas, z, epsilon, t));
    timesteps.push_back(t);
  }
  prompts.resize(size, prompts.front());
  for (auto* parts : {&time_ids, &noisy, &targets, &timesteps}) parts->resize(size, parts->front());
  return {std::move(prompts), at::stack(time_ids), at::cat(noisy), at::cat(targets),
          at::cat(timesteps)};
}

MicrobatchInput Upload(const MicrobatchInput& input, c10::Device device) {
  MicrobatchInput uploaded = input;
  for (at::Tensor* tensor :
       {&uploaded.time_ids, &uploaded.noisy, &uploaded.target, &uploaded.timesteps}) {
    *tensor = To(*tensor, device);
  }
  return uploaded;
}

LaunchedMicrobatch Launch(const diffusion::Model& model, const Denoiser& denoise,
                          const MicrobatchInput& input, uint32_t count, const at::Tensor& rows,
                          float loss_scale) {
  const int64_t size = input.noisy.size(0);
  const c10::Device device = model.device();
  at::Tensor leaf = To(rows.detach().unsqueeze(0).repeat({size, 1}), device);
  leaf.requires_grad_(true);
  const diffusion::Conditioning text =
      model.EncodeText(dataset::TextInputsOf(input.prompts, leaf, model.info().text_widths));
  at::Tensor weights = at::zeros({size}, at::kFloat);
  weights.narrow(0, 0, count).fill_(loss_scale);
  const at::Tensor pooled = text.pooled.defined() ? text.pooled.detach() : at::Tensor();
  const DenoisingResult denoised = denoise({.text = {text.hidden.detach(), pooled, input.time_ids},
                                            .noisy = input.noisy,
                                            .target = input.target,
                                            .timesteps = input.timesteps,
                                            .weights = To(weights, device)});
  LaunchedMicrobatch launched;
  launched.gradients_ = torch_support::GradientThrough(
      {text.hidden, text.pooled}, {denoised.hidden_gradient, denoised.pooled_gradient}, leaf);
  launched.losses_ = denoised.losses;
  launched.loss_scale_ = loss_scale;
  return launched;
}

MicrobatchResult LaunchedMicrobatch::Read() const {
  // In one transfer: the host waits for the whole step here.
  const at::Tensor both = at::cat({losses_.unsqueeze(1), gradients_}, 1).cpu();
  MicrobatchResult result;
  result.losses = both.select(1, 0).contiguous();
  result.gradients = both.narrow(1, 1, gradients_.size(1)).contiguous();
  if (loss_scale_ != 1) result.gradients.div_(loss_scale_);
  result.overflowed = AllFinite(ValuesOf(result.losses)) && !AllFinite(ValuesOf(result.gradients));
  return result;
}

MicrobatchResult ComputeLossAndGradient(const diffusion::Model& model, const MicrobatchInput& input,
                                        uint32_t count, const at::Tensor& rows, float loss_scale) {
  return Launch(
             model, [&model](const DenoisingInput& part) { return Denoise(model, part); },
             Upload(input, model.device()), count, rows, loss_scale)
      .Read();
}

at::Tensor ComputeLoss(const diffusion::Model& model, const MicrobatchInput& input,
                       const at::Tensor& rows) {
  const at::NoGradGuard no_grad;
  diffusion::Conditioning text =
      model.EncodeText(dataset::TextInputsOf(input.prompts, rows, model.info().text_widths));
  text.time_ids = input.time_ids;
  const at::Tensor prediction = model.PredictNoise(input.noisy, input.timesteps, text);
  return (prediction - input.target.to(prediction.device()))
      .square()
      .mean({1, 2, 3})
      .cpu()
      .contiguous();
}

}  // namespace neolog::train
