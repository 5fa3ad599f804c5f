#include "common/plan/step_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace neolog {
namespace {

constexpr uint64_t kMaxSamplesPerStep = uint64_t{1} << 22;

}  // namespace

absl::StatusOr<StepPlan> StepPlan::Create(const v1::RunSpec& spec) {
  const uint64_t per_step =
      uint64_t{spec.training().batch_size()} * spec.training().gradient_accumulation();
  if (spec.data().samples_size() == 0) {
    return InvalidArgument(
        fmt::format("run '{}': data.samples is empty; put at least one picture into the folder "
                    "data.images names",
                    spec.name()));
  }
  if (per_step == 0 || per_step > kMaxSamplesPerStep) {
    return InvalidArgument(
        fmt::format("run '{}': training.batch_size {} times training.gradient_accumulation {} is "
                    "{} samples a step; "
                    "expected 1 to {}",
                    spec.name(), spec.training().batch_size(),
                    spec.training().gradient_accumulation(), per_step, kMaxSamplesPerStep));
  }
  StepPlan plan;
  plan.seed_ = spec.training().seed();
  plan.images_ = static_cast<uint32_t>(spec.data().samples_size());
  plan.templates_ = static_cast<uint32_t>(spec.data().templates_size());
  plan.flip_ = spec.data().flip();
  plan.samples_per_step_ = static_cast<uint32_t>(per_step);
  plan.validation_draws_ = std::max(1u, spec.validation().draws_per_image());
  return plan;
}

void StepPlan::ShuffleEpoch(uint64_t epoch) {
  order_.resize(images_);
  std::iota(order_.begin(), order_.end(), 0u);
  const RandomKey key{seed_, RandomPurpose::kEpochOrder, static_cast<uint32_t>(epoch),
                      static_cast<uint32_t>(epoch >> 32)};
  for (uint32_t j = images_ - 1; j > 0; --j)
    std::swap(order_[j], order_[RandomBelow(key, j, j + 1)]);
  epoch_ = epoch;
  has_epoch_ = true;
}

PlannedSample StepPlan::Sample(uint64_t completed_steps, uint32_t index) {
  const uint64_t number = completed_steps * samples_per_step_ + index;
  if (!has_epoch_ || epoch_ != number / images_) ShuffleEpoch(number / images_);
  const auto key = [&](RandomPurpose purpose) {
    return RandomKey{seed_, purpose, static_cast<uint32_t>(completed_steps), index};
  };
  PlannedSample sample;
  sample.image = order_[number % images_];
  sample.flip = flip_ && (RandomWord(key(RandomPurpose::kFlip), 0) >> 31) != 0;
  if (templates_ > 1) sample.prompt = RandomBelow(key(RandomPurpose::kTemplate), 0, templates_);
  sample.timestep = RandomBelow(key(RandomPurpose::kTimestep), 0, kTimesteps);
  sample.posterior_noise = key(RandomPurpose::kPosteriorNoise);
  sample.diffusion_noise = key(RandomPurpose::kDiffusionNoise);
  return sample;
}

PlannedSample StepPlan::ValidationDraw(uint32_t image, uint32_t draw) const {
  const auto key = [&](RandomPurpose purpose) { return RandomKey{seed_, purpose, image, draw}; };
  const uint32_t first = static_cast<uint32_t>(uint64_t{draw} * kTimesteps / validation_draws_);
  const uint32_t end = static_cast<uint32_t>(uint64_t{draw + 1} * kTimesteps / validation_draws_);
  PlannedSample sample;
  sample.image = image;
  sample.timestep = first + RandomBelow(key(RandomPurpose::kValidationTimestep), 0, end - first);
  sample.posterior_noise = key(RandomPurpose::kValidationPosterior);
  sample.diffusion_noise = key(RandomPurpose::kValidationNoise);
  return sample;
}

}  // namespace neolog
