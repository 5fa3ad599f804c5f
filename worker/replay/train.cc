#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <span>
#include <utility>

#include "common/plan/lr_schedule.h"
#include "worker/diffusion/noise_schedule.h"
#include "worker/diffusion/rows.h"
#include "worker/replay/kinds.h"
#include "worker/torch_support/call.h"
#include "worker/torch_support/gradient.h"
#include "worker/train/adamw.h"
#include "worker/train/loss_scale.h"

namespace neolog::replay {
namespace {

using diffusion::PredictionType;

struct TrainSettings {
  // One rate an optimiser step, or a step list.
  std::vector<double> rates;
  std::string step_list;
  train::AdamWOptions adamw;
  int64_t accumulation = 1;
  std::optional<PredictionType> prediction;  // unset: the model's own
};

constexpr double kMaxRate = 1e6;

std::span<float> SpanOf(const at::Tensor& t) {
  return {t.mutable_data_ptr<float>(), static_cast<size_t>(t.numel())};
}

class Train : public Kind {
 public:
  Train(const KindContext& context, TrainSettings settings)
      : context_(context), settings_(std::move(settings)) {}

  absl::StatusOr<Result> Run(const diffusion::Model& model) const override {
    const CaseFile& file = *context_.file;
    const diffusion::ModelInfo& info = model.info();
    Sizes sizes = TextSizes(info);
    std::vector<TensorRule> rules = TextRules("S,B", info);
    rules.insert(rules.end(),
                 {{"latents", TensorType::kFloat32, "S,B,4,h,w"},
                  {"noise", TensorType::kFloat32, "S,B,4,h,w"},
                  {"timesteps", TensorType::kInt64, "S,B"},
                  {"loss_weight", TensorType::kFloat32, "S,B,1,h,w", /*optional=*/true}});
    RETURN_IF_ERROR(file.Check(rules, sizes));
    RETURN_IF_ERROR(CheckTokens(file, sizes["K"], info));
    RETURN_IF_ERROR(CheckTimesteps(model));
    const int64_t micro_steps = sizes["S"];
    if (micro_steps % settings_.accumulation != 0) {
      return InvalidArgument(fmt::format(
          "'grad_accumulation' is {}, which does not divide the {} recorded micro-steps",
          settings_.accumulation, micro_steps));
    }
    ASSIGN_OR_RETURN(const std::vector<double> rates, Rates(micro_steps / settings_.accumulation));
    return torch_support::CallTorch("training", [&] { return Compute(model, rates); });
  }

 private:
  absl::Status CheckTimesteps(const diffusion::Model& model) const {
    const at::Tensor timesteps = TensorOf(*context_.file, "timesteps");
    const int64_t count = model.info().noise_schedule.num_train_timesteps;
    for (int64_t i = 0; i < timesteps.numel(); ++i) {
      const int64_t t = timesteps.const_data_ptr<int64_t>()[i];
      if (t < 0 || t >= count) {
        return InvalidArgument(
            fmt::format("tensor 'timesteps' has {} at [{}, {}]; expected 0 to {}", t,
                        i / timesteps.size(1), i % timesteps.size(1), count - 1));
      }
    }
    return absl::OkStatus();
  }

  // The rate of every optimiser step.
  absl::StatusOr<std::vector<double>> Rates(int64_t steps) const {
    if (settings_.step_list.empty()) {
      if (static_cast<int64_t>(settings_.rates.size()) != steps) {
        return InvalidArgument(
            fmt::format("'lr' has {} rates; expected {}, one an optimiser step (S/G)",
                        settings_.rates.size(), steps));
      }
      return settings_.rates;
    }
    ASSIGN_OR_RETURN_WITH(const std::vector<RatePiece> pieces,
                          ParseStepList(settings_.step_list, steps), "'lr'");
    if (pieces.back().until < static_cast<uint64_t>(steps)) {
      return InvalidArgument(
          fmt::format("'lr' \"{}\" ends at step {}; the case has {} optimiser steps (S/G)",
                      settings_.step_list, pieces.back().until, steps));
    }
    std::vector<double> rates;
    for (int64_t k = 0; k < steps; ++k) rates.push_back(RateAt(pieces, k));
    return rates;
  }

  struct MicroStep {
    at::Tensor text, pooled, prediction, loss, gradient;
  };

  Result Compute(const diffusion::Model& model, const std::vector<double>& rates) const {
    // Every encoder's rows in one run of floats: AdamW treats each float alone.
    const at::Tensor rows = FlatRows(*context_.file, model.info()), exp_avg = at::zeros_like(rows),
                     exp_avg_sq = at::zeros_like(rows);
    std::map<std::string, std::vector<at::Tensor>> out;
    at::Tensor accumulated = at::zeros_like(rows);
    const int64_t micro_steps = TensorOf(*context_.file, "timesteps").size(0);
    for (int64_t s = 0; s < micro_steps; ++s) {
      const MicroStep step = Step(model, s, rows);
      out["text_hidden"].push_back(step.text);
      if (step.pooled.defined()) out["pooled"].push_back(step.pooled);
      out["prediction"].push_back(step.prediction);
      out["loss"].push_back(step.loss);
      Keep(model.info(), "grad", step.gradient, out);
      accumulated += step.gradient / settings_.accumulation;
      if ((s + 1) % settings_.accumulation != 0) continue;
      const int64_t completed = s / settings_.accumulation;
      train::AdamWStep(settings_.adamw, rates[completed], completed + 1, SpanOf(accumulated),
                       {SpanOf(rows), SpanOf(exp_avg), SpanOf(exp_avg_sq)});
      Keep(model.info(), "rows", rows, out);
      accumulated.zero_();
    }
    Result result;
    for (const auto& [name, tensors] : out) result[name] = at::stack(tensors).contiguous();
    return result;
  }

  // Each encoder's part under its own name.
  static void Keep(const diffusion::ModelInfo& info, const std::string& name,
                   const at::Tensor& flat, std::map<std::string, std::vector<at::Tensor>>& out) {
    const std::vector<at::Tensor> blocks = diffusion::RowBlocks(flat, info.text_widths);
    const std::vector<std::string> names = NamesOf(name, info);
    for (size_t i = 0; i < blocks.size(); ++i) out[names[i]].push_back(blocks[i].clone());
  }

  MicroStep Step(const diffusion::Model& model, int64_t s, const at::Tensor& rows) const {
    const auto of = [&](const char* name) { return TensorOf(*context_.file, name).select(0, s); };
    const at::Tensor latents = of("latents"), noise = of("noise"), timesteps = of("timesteps");
    const at::Tensor alphas = model.AlphasCumprod().cpu();
    const at::Tensor noisy = diffusion::AddNoise(alphas, latents, noise, timesteps);
    const at::Tensor target = diffusion::TrainingTarget(
        settings_.prediction.value_or(model.info().prediction), alphas, latents, noise, timesteps);
    const at::Tensor weight = TensorOf(*context_.file, "loss_weight");

    // Each sample has its own copy of the rows, as in training; the gradients are added in sample
    // order.
    const int64_t batch = latents.size(0);
    const auto forward = [&](const at::Tensor& leaf) {
      MicroStep step;
      diffusion::Conditioning text =
          model.EncodeText(TextInputs(*context_.file, model.info(), leaf, s));
      if (model.info().size_conditioning) text.time_ids = of("time_ids");
      const at::Tensor prediction = model.PredictNoise(noisy, timesteps, text);
      at::Tensor error = (prediction - target.to(prediction.device())).square();
      if (weight.defined()) error = error * weight.select(0, s).to(error.device());
      step.loss = error.mean();
      step.text = text.hidden.detach().to(at::kFloat).cpu().contiguous();
      if (text.pooled.defined())
        step.pooled = text.pooled.detach().to(at::kFloat).cpu().contiguous();
      step.prediction = prediction.detach().cpu().contiguous();
      return step;
    };

    const bool scaled = context_.precision == diffusion::Precision::kFloat16;
    float scale = scaled ? train::LossScale::kFirst : 1;
    for (uint32_t halvings = 0;; ++halvings) {
      const at::Tensor leaf = rows.unsqueeze(0).repeat({batch, 1}).set_requires_grad(true);
      MicroStep step = forward(leaf);
      at::Tensor gradient =
          torch_support::GradientOf(scaled ? step.loss * scale : step.loss, leaf).cpu();
      if (scaled) gradient = gradient / scale;
      step.loss = step.loss.detach().cpu();
      step.gradient = at::zeros_like(rows);
      for (int64_t b = 0; b < batch; ++b) step.gradient += gradient[b];
      if (!scaled || halvings == train::LossScale::kMostHalvings ||
          step.gradient.isfinite().all().item<bool>())
        return step;
      scale /= 2;
    }
  }

  KindContext context_;
  TrainSettings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Kind>> MakeTrainKind(const KindContext& context) {
  Settings settings = context.file->settings();
  TrainSettings train;
  const nlohmann::json& lr = settings.Any("lr");
  const auto is_rate = [](const nlohmann::json& rate) {
    return rate.is_number() && rate.get<double>() >= 0 && rate.get<double>() <= kMaxRate;
  };
  if (lr.is_string()) {
    train.step_list = lr.get<std::string>();
    if (train.step_list.empty()) settings.AddError("lr", "is an empty step list");
  } else if (lr.is_array() && !lr.empty() && std::all_of(lr.begin(), lr.end(), is_rate)) {
    train.rates = lr.get<std::vector<double>>();
  } else if (!lr.is_null()) {
    settings.AddError(
        "lr", fmt::format("is {}; expected a list of rates from 0 to {}, or a step list such as "
                          "\"0.005:100, 1e-3\"",
                          lr.dump().substr(0, 200), kMaxRate));
  }
  // torch.optim.AdamW's own limits; a beta of 1 would divide by zero.
  constexpr double kBelowOne = 1 - 1e-12;
  train.adamw.beta1 = settings.Number("beta1", 0, kBelowOne);
  train.adamw.beta2 = settings.Number("beta2", 0, kBelowOne);
  train.adamw.epsilon = settings.Number("eps", 0, 1);
  train.adamw.weight_decay = settings.Number("weight_decay", 0, 1e6);
  train.accumulation = settings.Integer("grad_accumulation", 1, 1 << 20);
  const std::string prediction = settings.OneOf("prediction", {"auto", "epsilon", "v_prediction"});
  if (prediction == "epsilon") train.prediction = PredictionType::kEpsilon;
  if (prediction == "v_prediction") train.prediction = PredictionType::kVPrediction;
  RETURN_IF_ERROR(settings.Finish());
  return std::unique_ptr<Kind>(std::make_unique<Train>(context, std::move(train)));
}

}  // namespace neolog::replay
