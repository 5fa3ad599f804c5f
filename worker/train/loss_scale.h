#pragma once

#include <cstdint>

namespace neolog::train {

/// What a loss is multiplied with before the backward pass in fp16, so that gradients through the
/// frozen model stay above fp16's smallest number and below its largest. Always a power of two, so
/// that dividing the rows' float32 gradient by it again is exact.
///
/// A gradient that overflows under a finite loss is computed again with half the scale, up to
/// kMostHalvings times, by whoever computes its microbatch: from the same start, so the result
/// depends on no other microbatch. The scale that the next step starts from follows from all
/// samples of the step, and is part of the run's state. The rule and its numbers are those of
/// torch.amp.GradScaler (Micikevicius et al., "Mixed precision training", 2018), with bounds.
class LossScale {
 public:
  static constexpr float kFirst = 65536, kSmallest = 1.0f / 65536, kLargest = 16777216;
  static constexpr uint32_t kMostHalvings = 20;
  /// Steps without an overflow after which the scale is doubled.
  static constexpr uint32_t kGrowthInterval = 2000;

  LossScale() = default;

  /// Whether a state may hold these numbers.
  static bool IsValid(float factor, uint32_t steps);
  /// A scale of a state; IsValid holds.
  LossScale(float factor, uint32_t steps) : factor_(factor), steps_(steps) {}

  float factor() const { return factor_; }
  /// Steps since it last changed.
  uint32_t steps() const { return steps_; }
  /// Takes note of a step; `overflowed`: one of its samples needed a lower scale than it began
  /// with.
  void AfterStep(bool overflowed);

 private:
  float factor_ = kFirst;
  uint32_t steps_ = 0;
};

}  // namespace neolog::train
