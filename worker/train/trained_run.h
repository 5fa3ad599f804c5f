#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/plan/lr_schedule.h"
#include "common/plan/step_plan.h"
#include "neolog/v1/run.pb.h"
#include "neolog/v1/run_spec.pb.h"
#include "worker/train/adamw.h"
#include "worker/train/guard.h"
#include "worker/train/loss_scale.h"

namespace neolog::train {

/// One run's learned rows and everything that changes them: plan, learning rate, moments, step
/// count. Knows nothing of tensors, of the model or of the other runs of a pack. One thread.
class TrainedRun {
 public:
  /// A run before its first step. `widths` are the D of the model's text encoders; `initial_rows`
  /// holds [K, D] for each of them, one after the other; `scales_loss`: the model computes in fp16.
  /// InvalidArgument names the setting that cannot be used: other than one word, a row count or
  /// width that does not fit, rows that are not finite, betas outside [0, 1).
  static absl::StatusOr<TrainedRun> Create(const v1::RunSpec& spec, std::vector<uint32_t> widths,
                                           std::vector<float> initial_rows,
                                           bool scales_loss = false);

  const v1::RunSpec& spec() const { return spec_; }
  uint32_t vectors() const { return vectors_; }
  /// Samples of one step: batch size times accumulation.
  uint32_t samples_per_step() const { return plan_.samples_per_step(); }
  /// Completed steps, and how many there will be.
  uint64_t step() const { return step_; }
  uint64_t total_steps() const { return schedule_.total_steps(); }
  /// The rows of every encoder, one after the other, [K, D] each.
  std::span<const float> rows() const { return rows_; }
  /// What the next step's losses are multiplied with before the backward pass; nothing but in fp16.
  const std::optional<LossScale>& loss_scale() const { return loss_scale_; }
  /// The plan of the run.
  StepPlan& plan() { return plan_; }

  /// What happened in a step. With a failure the state is as before.
  struct Outcome {
    v1::StepRecord record;
    std::optional<v1::RunFailure> failure;
  };
  /// Picture and prompt of a sample, for messages.
  using Describe = std::function<std::pair<std::string, std::string>(const PlannedSample&)>;

  /// Takes the next step from its samples' losses and gradients (like rows()), each of the sample's
  /// own mean squared error, in sample order. The step's gradient is, in float32 and in sample
  /// order, the sum of gradient * (1 / samples_per_step). Nothing is changed when a loss, a
  /// gradient, the sum or the updated state is not finite: then the outcome holds the failure.
  /// `samples` has samples_per_step() entries.
  Outcome TakeStep(std::span<const SampleResult> samples, const Describe& describe);

  /// The same in two halves, where members add up before they share (training.reduce: fast). What
  /// some of a step's samples add to it, [2 + F]: their part of the mean loss, how often their loss
  /// scale was halved, their part of the gradient.
  std::vector<float> ShareOfStep(std::span<const SampleResult> samples) const;
  /// Takes the next step from the sum of all shares, [2 + F]. Nothing is changed when that, or the
  /// updated state, is not finite.
  Outcome TakeSummedStep(std::span<const float> sum);

  /// The state as a serialised v1::TrainState: equal states give equal bytes. SaveState's hash is
  /// kept up to date.
  std::string SaveState() const;
  uint64_t state_hash() const { return state_hash_; }
  /// Goes to a saved state. InvalidArgument, and nothing changed, when it is damaged or belongs to
  /// another word or shape.
  absl::Status LoadState(std::string_view bytes);

 private:
  TrainedRun(const v1::RunSpec& spec, StepPlan plan, LrSchedule schedule)
      : spec_(spec), plan_(std::move(plan)), schedule_(std::move(schedule)) {}

  std::vector<float> ShareOfGradient(std::span<const SampleResult> samples) const;
  Outcome Refuse(RefusedStep refused) const;
  Outcome Update(float loss, std::span<const float> gradient, bool overflowed);
  absl::Status CheckBlocks(const v1::TrainState& state) const;
  absl::Status CheckLossScale(const v1::TrainState& state) const;

  v1::RunSpec spec_;
  StepPlan plan_;
  LrSchedule schedule_;
  AdamWOptions options_;
  uint32_t vectors_ = 0;
  std::vector<uint32_t> widths_;
  uint64_t step_ = 0;
  std::vector<float> rows_;
  std::vector<float> exp_avg_;
  std::vector<float> exp_avg_sq_;
  std::optional<LossScale> loss_scale_;
  uint64_t state_hash_ = 0;
};

/// Text that the rows start from, A1111's way: row i of K is the embedding of token floor(i * L /
/// K) of the L tokens. Returns the K token positions; L >= 1.
std::vector<uint32_t> InitialTokenOf(uint32_t vectors, uint32_t tokens);

}  // namespace neolog::train
