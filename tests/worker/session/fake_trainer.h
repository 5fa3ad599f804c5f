#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "worker/session/trainer.h"

namespace neolog::testing {

/// How a FakeTrainer behaves.
struct FakeTrainerOptions {
  /// A microbatch of this step and of later ones never ends, until interrupted; 0: none.
  uint64_t hangs_at = 0;
  /// How long a microbatch takes, interruptible.
  absl::Duration microbatch_time = absl::ZeroDuration();
  /// Run name -> step whose loss is not finite.
  std::map<std::string, uint64_t> not_finite_at;
  /// Run name -> step after which this trainer's state is wrong, as after a fault of the memory.
  std::map<std::string, uint64_t> corrupt_at;
  /// Previews a run wants after every how many steps; 0: none.
  uint64_t artifacts_every = 0;
  uint32_t artifacts = 0;
  /// What Prepare returns instead of working.
  absl::Status prepare_error;
  /// Run name -> what Prepare finds wrong with that run.
  std::map<std::string, absl::Status> bad_runs;
};

/// A session::Trainer without a model: a run's state is a hash that folds every gathered payload in
/// order, so any sample that is missing, doubled, out of order or computed from another state gives
/// another final state. Under training.reduce: fast it folds the sum of what the payloads' bytes
/// count to, whole numbers that floats add without error: the same for every team too.
class FakeTrainer : public session::Trainer {
 public:
  explicit FakeTrainer(FakeTrainerOptions options = {}) : options_(std::move(options)) {}

  absl::Status Prepare(const v1::Assignment& assignment) override;
  std::vector<std::string> MissingLatents(session::MicrobatchRange range) override;
  std::vector<std::string> MissingLatentsOfArtifact(size_t run, uint32_t index) override;
  absl::StatusOr<std::string> EncodeLatent(std::string_view key) override;
  absl::Status SetLatent(std::string_view key, std::string_view bytes) override;
  std::vector<size_t> ActiveRuns() const override;
  void RemoveRun(size_t run) override { runs_[run].removed = true; }
  uint32_t MicrobatchCount() const override;
  size_t PayloadSize(session::MicrobatchRange range) const override;
  absl::StatusOr<std::string> ComputeMicrobatches(session::MicrobatchRange range) override;
  bool SumsPayloads() const override;
  absl::StatusOr<std::vector<float>> SumPayload(std::string_view payload,
                                                session::MicrobatchRange range) const override;
  absl::StatusOr<std::vector<session::RunStep>> ApplyStep(std::string_view payloads) override;
  uint64_t StepOf(size_t run) const override { return runs_[run].step; }
  uint64_t HashOf(size_t run) const override;
  std::string SaveState(size_t run) const override;
  absl::Status LoadState(size_t run, std::string_view bytes) override;
  uint32_t ArtifactCount(size_t run) const override;
  absl::StatusOr<Artifact> MakeArtifact(size_t run, uint32_t index) override;
  uint64_t Progress() const override { return static_cast<uint64_t>(microbatches.load()); }
  void Interrupt() override;

  /// Counts, from any thread.
  std::atomic<int> prepares{0};
  std::atomic<int> model_loads{0};
  std::atomic<int> encodes{0};
  std::atomic<int> microbatches{0};

 private:
  struct Run {
    v1::RunSpec spec;
    uint64_t step = 0;
    std::string fold;
    bool removed = false;
  };
  struct Place {
    size_t run;
    uint32_t index;
  };
  uint32_t MicrobatchesOf(const Run& run) const;
  /// The posterior that a microbatch of the next step needs; empty for a run without pictures.
  std::string LatentKey(const Place& place) const;
  std::vector<Place> Cut(session::MicrobatchRange range) const;

  const FakeTrainerOptions options_;
  std::string model_;
  std::vector<Run> runs_;
  std::map<std::string, std::string, std::less<>> latents_;
  Mutex mutex_;
  CondVar changed_;
  bool interrupted_ GUARDED_BY(mutex_) = false;
};

/// The settings of a run for a FakeTrainer.
v1::RunSpec FakeRunSpec(const std::string& name, uint32_t steps, uint32_t batch);

/// The serialised state that a run ends with when nothing disturbs it, after `steps` steps.
std::string FakeFinalState(const v1::RunSpec& spec, uint64_t steps);

}  // namespace neolog::testing
