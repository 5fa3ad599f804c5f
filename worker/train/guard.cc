#include "worker/train/guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace neolog::train {

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

std::optional<BadNumber> FindBadNumber(std::span<const SampleResult> samples) {
  for (size_t i = 0; i < samples.size(); ++i) {
    if (!std::isfinite(samples[i].loss)) {
      return BadNumber{BadNumber::Where::kLoss, i, samples[i].loss};
    }
    for (float value : samples[i].gradient) {
      if (!std::isfinite(value)) return BadNumber{BadNumber::Where::kGradient, i, value};
    }
  }
  return std::nullopt;
}

v1::RunFailure DescribeRefusedStep(const RefusedStep& refused) {
  std::string what;
  switch (refused.bad.where) {
    case BadNumber::Where::kLoss: what = fmt::format("the loss is {}", refused.bad.value); break;
    case BadNumber::Where::kGradient:
      what = fmt::format("a gradient is {}", refused.bad.value);
      break;
    case BadNumber::Where::kLossSum:
      what = fmt::format("the sum of the step's losses is {}", refused.bad.value);
      break;
    case BadNumber::Where::kSum:
      what = fmt::format("the sum of the step's gradients is {}", refused.bad.value);
      break;
    case BadNumber::Where::kUpdate:
      what = fmt::format("the update would make a row {}", refused.bad.value);
      break;
  }
  if (refused.bad.where == BadNumber::Where::kLoss ||
      refused.bad.where == BadNumber::Where::kGradient) {
    what += fmt::format(" for picture '{}' with the prompt '{}' at timestep {}", refused.picture,
                        refused.prompt, refused.timestep);
    if (refused.loss_scale != 0 && refused.bad.where == BadNumber::Where::kGradient)
      what += fmt::format(", even with the loss scaled by only {:g}", refused.loss_scale);
  }
  const std::string second =
      refused.precision == "fp32"
          ? std::string(
                "look at that picture and at init_text or init_file for values that are far off")
          : fmt::format("set model.precision to fp32 (it is {})", refused.precision);
  v1::RunFailure failure;
  failure.set_kind(v1::RunFailure::KIND_NOT_FINITE);
  failure.set_step(refused.step);
  failure.set_message(fmt::format(
      "step {} of '{}' was refused: {} (learning rate {:g}); the rows stay as they were after step "
      "{}. Try a lower "
      "training.learning_rate, or {}.",
      refused.step, refused.run_name, what, refused.learning_rate, refused.step - 1, second));
  return failure;
}

}  // namespace neolog::train
