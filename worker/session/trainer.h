#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "neolog/v1/agent.pb.h"
#include "neolog/v1/run.pb.h"

namespace neolog::session {

/// One sample's place in a pack's step: microbatches are cut from the list of all samples of all
/// runs, in pack order. Members of a team compute contiguous ranges of microbatches.
struct MicrobatchRange {
  uint32_t first = 0;
  uint32_t count = 0;
};

/// What one step did to one run.
struct RunStep {
  size_t run = 0;  // index in the pack
  v1::StepRecord record;
  /// Set when loss or gradient was not finite: the step was refused for this run and its state is
  /// as before.
  bool refused = false;
  v1::RunFailure failure;
};

/// The numerical side of a session: torch lives behind it. It always trains a pack; one run is a
/// pack of one. All calls come from the session's thread, except Interrupt.
class Trainer {
 public:
  virtual ~Trainer() = default;

  /// Loads the model (kept when it is the one already loaded), parses the runs' specs and takes
  /// each run's committed state, or makes its first one. InvalidArgument and NotFound describe
  /// inputs that cannot be used; where they are one run's own (and would be refused by every
  /// member), the error is marked with BlameRun (blame.h).
  virtual absl::Status Prepare(const v1::Assignment& assignment) = 0;

  /// Keys of the posteriors that ComputeMicrobatches needs for `range` of the next step and that
  /// were not set yet, each once. What was set stays, also when another pack is prepared on the
  /// same model. Cheap when nothing is missing.
  virtual std::vector<std::string> MissingLatents(MicrobatchRange range) = 0;
  /// Encodes one picture: mean and logvar, [2, 4, h, w] float32. One picture per encode, so that
  /// the bytes do not depend on the others. A picture that cannot be used is blamed on its run
  /// (blame.h); so it is by SetLatent.
  virtual absl::StatusOr<std::string> EncodeLatent(std::string_view key) = 0;
  /// Gives the trainer the bytes that the whole team uses for `key`.
  virtual absl::Status SetLatent(std::string_view key, std::string_view bytes) = 0;

  /// Runs still stepping, by pack index; a run leaves when it has taken its last step, failed, or
  /// was removed.
  virtual std::vector<size_t> ActiveRuns() const = 0;
  /// Takes a run out of the pack (paused, stopped or failed); its state stays readable.
  virtual void RemoveRun(size_t run) = 0;

  /// Microbatches in the pack's next step; depends on the active runs only.
  virtual uint32_t MicrobatchCount() const = 0;
  /// Bytes that ComputeMicrobatches yields for a range; depends on the active runs and the range
  /// only.
  virtual size_t PayloadSize(MicrobatchRange range) const = 0;
  /// Losses and gradients of the range's samples for the next step. Aborted after Interrupt.
  virtual absl::StatusOr<std::string> ComputeMicrobatches(MicrobatchRange range) = 0;
  /// Whether members add up what they computed before they share it (training.reduce: fast), and
  /// what this member's payload for `range` adds: floats, of a number that depends on the active
  /// runs only.
  virtual bool SumsPayloads() const = 0;
  virtual absl::StatusOr<std::vector<float>> SumPayload(std::string_view payload,
                                                        MicrobatchRange range) const = 0;
  /// Takes the step from every member's payload, concatenated in rank order (that is, in sample
  /// order); with SumsPayloads, from the bytes of the members' sum. Returns one entry per active
  /// run, in pack order. Refused runs keep their state.
  virtual absl::StatusOr<std::vector<RunStep>> ApplyStep(std::string_view payloads) = 0;

  /// Completed steps of a run, and the hash of its state.
  virtual uint64_t StepOf(size_t run) const = 0;
  virtual uint64_t HashOf(size_t run) const = 0;
  /// A run's state as a serialised TrainState, and back. The hash is that of these bytes.
  virtual std::string SaveState(size_t run) const = 0;
  virtual absl::Status LoadState(size_t run, std::string_view bytes) = 0;

  /// What a run wants made after the step it just took (previews, validation): artifacts with their
  /// bytes. Only called on the rank that makes them; `index` tells work items apart so that ranks
  /// can share them.
  struct Artifact {
    v1::ArtifactReport report;
    std::string bytes;
  };
  virtual uint32_t ArtifactCount(size_t run) const = 0;
  /// As MissingLatents, of what MakeArtifact needs.
  virtual std::vector<std::string> MissingLatentsOfArtifact(size_t run, uint32_t index) = 0;
  virtual absl::StatusOr<Artifact> MakeArtifact(size_t run, uint32_t index) = 0;

  /// Counts the parts of long computations that are behind it (microbatches, sampler steps), so
  /// that one can tell from outside a long computation from one that hangs. Any thread.
  virtual uint64_t Progress() const = 0;

  /// Makes a running Compute or Encode return Aborted soon. Any thread.
  virtual void Interrupt() = 0;
};

}  // namespace neolog::session
