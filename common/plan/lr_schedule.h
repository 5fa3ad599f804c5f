#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog {

/// One piece of a step list: `rate` applies while fewer than `until` steps are completed.
struct RatePiece {
  double rate = 0;
  uint64_t until = 0;

  friend bool operator==(const RatePiece&, const RatePiece&) = default;
};

/// Reads a learning rate as A1111 does: `list := item ("," item)*`, `item := rate [":" step]`; rate
/// is a Python float literal, step a Python int; blank items are skipped, white space around rates
/// and steps is ignored.
///   "rate:step" applies while completed steps < step; a step of 0 or below, other than -1, is left
///   out; "rate" and "rate:-1" run to `max_steps` and end the list; so does a step above
///   `max_steps`; a list that ends earlier ends training there: see TotalSteps.
/// A step that does not come after the one before it holds its rate for one step, as A1111's does.
/// InvalidArgument names the item, its place in the text and the form expected: also for rates that
/// are negative or not finite, and for lists without an item that applies. The pieces have growing
/// `until`, the last at most `max_steps`.
absl::StatusOr<std::vector<RatePiece>> ParseStepList(std::string_view text, uint64_t max_steps);

/// The rate of the step that follows `completed_steps`; the last piece's rate beyond the end.
/// `pieces` is not empty.
double RateAt(const std::vector<RatePiece>& pieces, uint64_t completed_steps);

/// The learning rate of every step of a run.
class LrSchedule {
 public:
  /// InvalidArgument names the setting: an unreadable learning_rate, an unknown schedule,
  /// final_factor outside [0, 1], warmup_steps that leave no step.
  static absl::StatusOr<LrSchedule> Create(const v1::TrainingSpec& training);

  /// Steps the run takes: training.steps, or less when the step list ends before.
  uint64_t total_steps() const { return total_steps_; }

  /// The rate of the step that follows `completed_steps` = k, that is, of step k + 1 counted from
  /// 1:
  ///   list(k) * warm(k) * curve(k), with W = warmup_steps, T = total_steps(), f = final_factor,
  ///   warm(k) = (k + 1) / W for k < W, else 1: the first step has 1/W of the rate, step W the
  ///   whole; p = 0 for k < W, else (k - W) / (T - W): 0 for step W + 1, 1 would be step T + 1,
  ///   which is never taken; curve = 1 (constant), 1 - (1 - f) p (linear), f + (1 - f) (1 + cos(pi
  ///   p)) / 2 (cosine).
  /// Beyond T the value at T. The same bits on every machine.
  double At(uint64_t completed_steps) const;

 private:
  enum class Curve { kConstant, kLinear, kCosine };
  LrSchedule() = default;

  std::vector<RatePiece> pieces_;
  uint64_t total_steps_ = 0;
  uint64_t warmup_steps_ = 0;
  double final_factor_ = 0;
  Curve curve_ = Curve::kConstant;
};

/// LrSchedule::Create(training)->At(completed_steps).
absl::StatusOr<double> LearningRateAt(const v1::TrainingSpec& training, uint64_t completed_steps);

/// LrSchedule::Create(training)->total_steps(): min(steps, end of the step list).
absl::StatusOr<uint64_t> TotalSteps(const v1::TrainingSpec& training);

}  // namespace neolog
