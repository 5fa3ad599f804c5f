#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/status.h"
#include "common/plan/philox.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog {

/// Diffusion timesteps are 0 … kTimesteps - 1.
inline constexpr uint32_t kTimesteps = 1000;

/// What one sample of one step is made of.
struct PlannedSample {
  uint32_t image = 0;         // index into DataSpec.samples
  bool flip = false;          // mirrored left to right
  uint32_t prompt = 0;        // index into DataSpec.templates; 0 when prompts are captions
  uint32_t timestep = 0;      // in [0, kTimesteps)
  RandomKey posterior_noise;  // for n0, [4, h, w]
  RandomKey diffusion_noise;  // for epsilon, [4, h, w]

  friend bool operator==(const PlannedSample&, const PlannedSample&) = default;
};

/// The plan: a pure function from (settings, seed, step) to samples. It knows nothing of teams,
/// ranks or packs, so what a sample is does not depend on who computes it or beside whom.
///
/// Sample i of step k (both from 0; i = micro-step * batch + place in it) has number n = k * (B*G)
/// + i. Pictures come in epochs: epoch e holds numbers [e*N, (e+1)*N) and goes through all N
/// pictures in its own order, so every picture is used equally often. An epoch's order is a
/// Fisher-Yates shuffle: for j = N-1 … 1, swap places j and RandomBelow({seed, kEpochOrder, low
/// word of e, high word of e}, j, j + 1). Flip (the top bit), template and timestep are word 0 of
/// their purposes' streams, keyed by (k, i); the noises are normals of theirs.
///
/// Not safe for use from several threads: it remembers the order of the last epoch.
class StepPlan {
 public:
  /// InvalidArgument when there are no pictures, the batch is empty, or one step has more than 2^22
  /// samples.
  static absl::StatusOr<StepPlan> Create(const v1::RunSpec& spec);

  /// Batch size times accumulation: samples of one step.
  uint32_t samples_per_step() const { return samples_per_step_; }

  /// Sample `index` < samples_per_step() of the step that follows `completed_steps`.
  PlannedSample Sample(uint64_t completed_steps, uint32_t index);

  /// Fixed draw `draw` of picture `image` for the validation loss: never flipped, template 0,
  /// timesteps spread evenly (draw d of n lies in the d-th n-th of the range, at a place drawn
  /// once). The same at every step of the run.
  PlannedSample ValidationDraw(uint32_t image, uint32_t draw) const;
  /// Fixed draws per picture.
  uint32_t validation_draws() const { return validation_draws_; }

 private:
  StepPlan() = default;
  void ShuffleEpoch(uint64_t epoch);

  uint64_t seed_ = 0;
  uint32_t images_ = 0;
  uint32_t templates_ = 0;
  bool flip_ = false;
  uint32_t samples_per_step_ = 0;
  uint32_t validation_draws_ = 0;
  bool has_epoch_ = false;
  uint64_t epoch_ = 0;
  std::vector<uint32_t> order_;
};

}  // namespace neolog
