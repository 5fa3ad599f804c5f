#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <optional>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "worker/diffusion/model.h"
#include "worker/diffusion/noise_schedule.h"
#include "worker/diffusion/text_encoder.h"
#include "worker/diffusion/unet.h"
#include "worker/diffusion/vae.h"
#include "worker/torch_support/call.h"
#include "worker/torch_support/device.h"
#include "worker/torch_support/weights.h"

namespace neolog::diffusion {
namespace {

using torch_support::CallTorch;
using torch_support::WeightMap;

struct Parts {
  ModelInfo info;
  std::vector<ClipTextEncoder> text_encoders;
  std::optional<UNet> unet;
  std::optional<Vae> vae;
  at::ScalarType compute = at::kFloat, vae_type = at::kFloat;
  c10::Device device = c10::Device(c10::DeviceType::CPU);
  at::Tensor alphas_cumprod;
};

class CheckpointModel : public Model {
 public:
  explicit CheckpointModel(Parts parts) : parts_(std::move(parts)) {}

  c10::Device device() const override { return parts_.device; }
  const ModelInfo& info() const override { return parts_.info; }

  at::Tensor TokenEmbeddings(size_t encoder, const std::vector<int64_t>& ids) const override {
    return parts_.text_encoders.at(encoder)
        .Embed(at::tensor(at::ArrayRef<int64_t>(ids), at::kLong))
        .cpu();
  }

  Conditioning EncodeText(at::ArrayRef<TextInput> inputs) const override {
    TORCH_CHECK(inputs.size() == parts_.text_encoders.size(), "the model has ",
                parts_.text_encoders.size(), " text encoders; got input for ", inputs.size());
    Conditioning result;
    std::vector<at::Tensor> hidden;
    for (size_t i = 0; i < inputs.size(); ++i) {
      TextFeatures features = parts_.text_encoders[i].forward(inputs[i], parts_.info.end_token);
      hidden.push_back(features.hidden.to(parts_.compute));
      if (features.pooled.defined()) result.pooled = features.pooled.to(parts_.compute);
    }
    result.hidden = hidden.size() == 1 ? hidden[0] : at::cat(hidden, -1);
    return result;
  }

  at::Tensor PredictNoise(const at::Tensor& latents, const at::Tensor& timesteps,
                          const Conditioning& text) const override {
    return parts_.unet->forward(In(latents, parts_.compute), timesteps.to(parts_.device), text)
        .to(at::kFloat);
  }

  std::pair<at::Tensor, at::Tensor> EncodeImage(const at::Tensor& pixels) const override {
    const at::NoGradGuard no_grad;
    const auto moments = parts_.vae->encode(In(pixels, parts_.vae_type)).to(at::kFloat).chunk(2, 1);
    return {moments[0].contiguous(), moments[1].clamp(-30, 20)};
  }

  at::Tensor DecodeLatents(const at::Tensor& latents) const override {
    const at::NoGradGuard no_grad;
    return parts_.vae->decode(In(latents / parts_.info.scaling_factor, parts_.vae_type))
        .to(at::kFloat);
  }

  const at::Tensor& AlphasCumprod() const override { return parts_.alphas_cumprod; }

 private:
  at::Tensor In(const at::Tensor& x, at::ScalarType type) const {
    return x.to(x.options().dtype(type).device(parts_.device));
  }

  Parts parts_;
};

ModelInfo InfoOf(const Checkpoint& checkpoint) {
  ModelInfo info;
  const ClipConfig& clip = checkpoint.clips[0];
  for (const ClipConfig& one : checkpoint.clips) info.text_widths.push_back(one.hidden_size);
  info.text_positions = clip.max_position_embeddings;
  info.vocabulary = clip.vocab_size;
  info.start_token = clip.bos_token_id;
  info.end_token = clip.eos_token_id;
  info.size_conditioning = checkpoint.family == ModelFamily::kSdxl;
  info.pooled_width = checkpoint.clips.back().projection_dim;
  info.latent_channels = checkpoint.vae.latent_channels;
  info.latent_factor = checkpoint.vae.Factor();
  info.sample_size = checkpoint.unet.sample_size;
  info.scaling_factor = checkpoint.vae.scaling_factor;
  info.prediction =
      checkpoint.v_prediction ? PredictionType::kVPrediction : PredictionType::kEpsilon;
  info.noise_schedule = checkpoint.scheduler.noise_schedule;
  return info;
}

}  // namespace

at::ScalarType ComputeType(Precision precision) {
  switch (precision) {
    case Precision::kFloat32: return at::kFloat;
    case Precision::kBFloat16: return at::kBFloat16;
    case Precision::kFloat16: return at::kHalf;
  }
  return at::kFloat;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path,
                                                 const ModelOptions& options) {
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path, options.checkpoint));
  return LoadModel(checkpoint, options);
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint,
                                                 const ModelOptions& options) {
  Parts parts;
  ASSIGN_OR_RETURN(parts.device, torch_support::SelectDevice(options.device));
  parts.compute = ComputeType(options.precision);
  // SD's autoencoder can leave fp16's range; it runs once a picture.
  parts.vae_type = options.precision == Precision::kFloat16 ? at::kFloat : parts.compute;
  parts.info = InfoOf(checkpoint);
  const bool xl = checkpoint.family == ModelFamily::kSdxl;
  const auto map = [&](const CheckpointPart& part) {
    return WeightMap::OfTable(part.weights, fmt::format("{} ({})", checkpoint.path, part.name));
  };

  RETURN_IF_ERROR(
      CallTorch(fmt::format("loading model '{}'", checkpoint.path), [&]() -> absl::Status {
        const at::NoGradGuard no_grad;
        // Text encoders stay in fp32: the rows are learned through them, and they are 1.5 % of a
        // step.
        for (size_t i = 0; i < checkpoint.clips.size(); ++i) {
          ASSIGN_OR_RETURN(const auto weights, map(checkpoint.text_encoders[i]));
          parts.text_encoders.emplace_back(WeightReader(*weights, at::kFloat, parts.device),
                                           checkpoint.clips[i],
                                           xl ? HiddenStates::kPenultimate : HiddenStates::kFinal);
          RETURN_IF_ERROR(weights->Finish({}));
        }

        ASSIGN_OR_RETURN(const auto unet_weights, map(checkpoint.unet_weights));
        parts.unet.emplace(WeightReader(*unet_weights, parts.compute, parts.device),
                           checkpoint.unet, options.attention);
        RETURN_IF_ERROR(unet_weights->Finish({}));

        ASSIGN_OR_RETURN(const auto vae_weights, map(checkpoint.vae_weights));
        parts.vae.emplace(WeightReader(*vae_weights, parts.vae_type, parts.device), checkpoint.vae);
        RETURN_IF_ERROR(vae_weights->Finish({}));

        parts.alphas_cumprod =
            AlphasCumprodAsReference(checkpoint.scheduler.noise_schedule).to(parts.device);
        return absl::OkStatus();
      }));
  std::unique_ptr<Model> model = std::make_unique<CheckpointModel>(std::move(parts));
  return model;
}

}  // namespace neolog::diffusion
