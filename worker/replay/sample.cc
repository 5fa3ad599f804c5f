#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "worker/diffusion/samplers.h"
#include "worker/replay/kinds.h"
#include "worker/torch_support/call.h"

namespace neolog::replay {
namespace {

constexpr int64_t kMaxSteps = 1000;
constexpr double kMaxGuidance = 1e6;

class Sample : public Kind {
 public:
  Sample(const KindContext& context, diffusion::SamplerOptions options, double cfg)
      : file_(*context.file), options_(std::move(options)), cfg_(cfg) {}

  absl::StatusOr<Result> Run(const diffusion::Model& model) const override {
    const diffusion::ModelInfo& info = model.info();
    diffusion::SamplerOptions options = options_;
    options.noise_schedule = info.noise_schedule;
    options.prediction = info.prediction;
    ASSIGN_OR_RETURN(const auto sampler, diffusion::MakeSampler(options));

    // K may be 0 here, so it is taken from the file before the shapes are compared.
    Sizes sizes = TextSizes(info);
    sizes["1+steps"] = 1 + options.steps;
    const auto rows_view = file_.file()->tensors().find("rows");
    if (rows_view != file_.file()->tensors().end() && rows_view->second.shape.size() == 2) {
      sizes["K"] = rows_view->second.shape[0];
    }
    std::vector<TensorRule> rules = TextRules("2", info);
    rules.push_back({"noise", TensorType::kFloat32, "1+steps,4,h,w"});
    RETURN_IF_ERROR(file_.Check(rules, sizes));
    RETURN_IF_ERROR(CheckTokens(file_, sizes["K"], info));
    if (sampler->draws() > options.steps) {
      return InvalidArgument(
          fmt::format("'steps' is {}, for which '{}' takes {} steps and as many draws, but 'noise' "
                      "has {}; with eta above 0 choose "
                      "steps that divide {}",
                      options.steps, options.name, sampler->steps(), options.steps,
                      info.noise_schedule.num_train_timesteps));
    }
    return torch_support::CallTorch("sampling", [&] { return Compute(model, *sampler); });
  }

 private:
  Result Compute(const diffusion::Model& model, const diffusion::Sampler& sampler) const {
    const at::NoGradGuard no_grad;
    diffusion::Conditioning text = model.EncodeText(
        TextInputs(file_, model.info(), FlatRows(file_, model.info()), std::nullopt));
    if (model.info().size_conditioning) text.time_ids = TensorOf(file_, "time_ids");
    const auto predict = [&](const at::Tensor& x, double timestep) {
      const at::Tensor raw =
          model.PredictNoise(x.expand({2, -1, -1, -1}), at::full({2}, timestep, at::kFloat), text)
              .cpu();
      return diffusion::GuidedPrediction{raw.narrow(0, 0, 1), raw.narrow(0, 1, 1)};
    };
    const at::Tensor noise = TensorOf(file_, "noise");
    const at::Tensor latents =
        sampler.Sample(predict, cfg_, [&](int i) { return noise.narrow(0, i, 1); });
    const at::Tensor schedule = at::tensor(at::ArrayRef<double>(sampler.schedule()), at::kDouble);
    const bool integers = sampler.schedule_name() == "timesteps";
    return {{"latents", latents.squeeze(0).contiguous()},
            {std::string(sampler.schedule_name()), schedule.to(integers ? at::kLong : at::kFloat)}};
  }

  const CaseFile& file_;
  diffusion::SamplerOptions options_;
  double cfg_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kind>> MakeSampleKind(const KindContext& context) {
  Settings settings = context.file->settings();
  diffusion::SamplerOptions options;
  options.name = settings.OneOf("sampler", diffusion::SamplerNames());
  options.steps = static_cast<int>(settings.Integer("steps", 1, kMaxSteps));
  options.eta = settings.OptionalNumber("eta", 0, 1e6);
  const double cfg = settings.Number("cfg", -kMaxGuidance, kMaxGuidance);
  RETURN_IF_ERROR(settings.Finish());
  return std::unique_ptr<Kind>(std::make_unique<Sample>(context, std::move(options), cfg));
}

}  // namespace neolog::replay
