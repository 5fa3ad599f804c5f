#include "worker/generate/picture.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/version.h"
#include "common/image/png.h"
#include "common/plan/philox.h"
#include "worker/dataset/size_conditioning.h"
#include "worker/diffusion/samplers.h"
#include "worker/torch_support/call.h"

namespace neolog::generate {
namespace {

using torch_support::CallTorch;

// The sampler's name as A1111 shows it.
std::string ShownName(const std::string& sampler) {
  if (sampler == "euler_a") return "Euler a";
  if (sampler == "ddim") return "DDIM";
  return sampler;
}

}  // namespace

absl::StatusOr<at::Tensor> DrawPicture(const diffusion::Model& model, const PictureRequest& request,
                                       const KeepGoing& keep_going) {
  const diffusion::ModelInfo& info = model.info();
  if (request.side == 0 || request.side % info.latent_factor != 0) {
    return InvalidArgument(
        fmt::format("a picture of {} pixels does not fit the model; expected a multiple of {}",
                    request.side, info.latent_factor));
  }
  const auto& [prompt, negative] = request.prompts;
  if (prompt.encoders.empty() || negative.encoders.empty() ||
      prompt.encoders[0].ids.size() != negative.encoders[0].ids.size()) {
    return InvalidArgument(
        "prompt and negative prompt have different numbers of chunks; expected both as long as the "
        "longer one");
  }
  diffusion::SamplerOptions options;
  options.name = request.sampler;
  options.steps = request.steps;
  options.noise_schedule = info.noise_schedule;
  options.prediction = info.prediction;
  ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::Sampler> sampler,
                   diffusion::MakeSampler(options));

  bool stopped = false;
  const auto go_on = [&] {
    stopped = stopped || (keep_going && !keep_going());
    return !stopped;
  };
  if (!go_on()) return Aborted("interrupted");
  ASSIGN_OR_RETURN(
      at::Tensor picture, CallTorch("drawing a picture", [&] {
        const at::NoGradGuard no_grad;
        diffusion::Conditioning text = model.EncodeText(dataset::TextInputsOf(
            {&request.prompts.negative, &request.prompts.prompt}, request.rows, info.text_widths));
        if (info.size_conditioning) {
          const dataset::TimeIds whole =
              dataset::TimeIdsOf(request.side, request.side, request.side);
          text.time_ids = at::tensor(at::ArrayRef<int64_t>(whole), at::kLong).expand({2, -1});
        }
        const auto predict = [&](const at::Tensor& x, double timestep) {
          const at::Tensor both =
              model.PredictNoise(at::cat({x, x}), at::full({2}, timestep, x.options()), text);
          return diffusion::GuidedPrediction{both.narrow(0, 0, 1), both.narrow(0, 1, 1)};
        };
        const int64_t side = request.side / info.latent_factor;
        const auto noise = [&](int i) {
          at::Tensor draw = at::empty({1, info.latent_channels, side, side}, at::kFloat);
          FillNormal({request.seed, RandomPurpose::kSampler, static_cast<uint32_t>(i), 0},
                     {draw.data_ptr<float>(), static_cast<size_t>(draw.numel())});
          return draw.to(text.hidden.device());
        };
        const at::Tensor latents =
            sampler->Sample(predict, request.cfg, noise, [&](int, int) { return go_on(); });
        if (stopped) return at::Tensor();
        return (model.DecodeLatents(latents)[0] / 2 + 0.5).clamp(0, 1).cpu().contiguous();
      }));
  if (stopped) return Aborted("interrupted");
  return picture;
}

std::string PictureParameters(const PictureRequest& request) {
  const auto& [prompt, negative] = request.prompts;
  std::string text = prompt.text;
  if (!negative.text.empty()) text += "\nNegative prompt: " + negative.text;
  text += fmt::format("\nSteps: {}, Sampler: {}, CFG scale: {:g}, Seed: {}, Size: {}x{}",
                      request.steps, ShownName(request.sampler), request.cfg, request.seed,
                      request.side, request.side);
  if (!request.model_hash.empty()) text += ", Model hash: " + request.model_hash;
  return text + fmt::format(", Version: neolog {}", kVersion);
}

absl::StatusOr<std::string> DrawPng(const diffusion::Model& model, const PictureRequest& request,
                                    const KeepGoing& keep_going) {
  ASSIGN_OR_RETURN(const at::Tensor picture, DrawPicture(model, request, keep_going));
  Image image;
  RETURN_IF_ERROR(CallTorch("writing a picture", [&] {
    // Rounded as diffusers does it; A1111 cuts off instead.
    const at::Tensor bytes = (picture.permute({1, 2, 0}) * 255).round().to(at::kByte).contiguous();
    image.height = static_cast<int>(bytes.size(0));
    image.width = static_cast<int>(bytes.size(1));
    image.rgb.assign(reinterpret_cast<const char*>(bytes.data_ptr<uint8_t>()),
                     static_cast<size_t>(bytes.numel()));
  }));
  return EncodePng(image, {{"parameters", PictureParameters(request)}});
}

}  // namespace neolog::generate
