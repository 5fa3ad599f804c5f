#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "neolog/v1/run.pb.h"

namespace neolog::train {

/// True when no value is NaN or infinite.
bool AllFinite(std::span<const float> values);

/// Where a value that is not finite turned up.
struct BadNumber {
  enum class Where { kLoss, kGradient, kLossSum, kSum, kUpdate };
  Where where = Where::kLoss;
  /// The sample of the step, for a loss or gradient of one.
  size_t sample = 0;
  /// The value found.
  float value = 0;
};

/// One sample's numbers: its loss and its gradient.
struct SampleResult {
  float loss = 0;
  std::span<const float> gradient;
  /// How often the loss scale was halved for it (loss_scale.h).
  uint32_t halvings = 0;
};

/// The first bad number among the samples of a step, in sample order, loss before gradient; nothing
/// when all are finite.
std::optional<BadNumber> FindBadNumber(std::span<const SampleResult> samples);

/// What the message about a refused step is made of.
struct RefusedStep {
  std::string_view run_name;
  uint64_t step = 0;  // counted from 1
  BadNumber bad;
  std::string picture;  // the sample's, for losses and gradients
  std::string prompt;
  uint32_t timestep = 0;
  double learning_rate = 0;
  std::string_view precision;  // of the frozen model
  /// The lowest loss scale that was tried for the sample; 0: losses are not scaled.
  float loss_scale = 0;
};

/// A failure of kind NOT_FINITE whose message is one line: what happened in which step, to which
/// picture and prompt, at which learning rate, that the rows are those before the step, and two
/// things to try.
v1::RunFailure DescribeRefusedStep(const RefusedStep& refused);

}  // namespace neolog::train
