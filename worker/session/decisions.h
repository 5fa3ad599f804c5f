#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/status.h"
#include "neolog/v1/agent.pb.h"
#include "worker/session/trainer.h"

// The session's decisions: pure, the same on every rank that sees the same gather, each with its
// reason.
namespace neolog::session {

/// Why a run is no longer stepping, in the order in which one outweighs the other.
enum class Left : uint8_t {
  kNo = 0,        // it steps, or has taken its last step
  kPaused = 1,    // a user paused it
  kStopped = 2,   // a user stopped it
  kFailed = 3,    // its next step was refused
  kDiverged = 4,  // members disagree about its state
};

/// Control bits of one run in a gather header.
inline constexpr uint8_t kControlPause = 1;
inline constexpr uint8_t kControlStop = 2;
inline constexpr uint8_t kControlCheckpoint = 4;

/// What one member says about one run.
struct RunLine {
  uint64_t step = 0;
  uint64_t hash = 0;
  /// Bytes of what the member can give to those behind: state, records, failure. Regroup only.
  uint64_t catch_up_bytes = 0;
  uint8_t control = 0;
  Left left = Left::kNo;
};

/// Rank `rank` of `size` computes these of `count` microbatches: contiguous, in rank order, sizes
/// differing by at most one. Count 0 means that there are fewer microbatches than ranks.
MicrobatchRange SliceOf(uint32_t count, int rank, int size);

/// Who gives a run's state to whom.
struct CatchUpDecision {
  /// The lowest rank that is furthest, by steps and then by knowing why the run left: its state
  /// counts.
  int source = 0;
  /// True when some rank must take the source's state.
  bool needed = false;
  /// Ranks whose state differs from the majority's at the same step; empty when all agree. The run
  /// cannot go on then.
  std::vector<int> diverged;
  /// Why the run left, as the source knows it.
  Left left = Left::kNo;
  std::string reason;
};
/// From each rank's line about one run, in rank order.
CatchUpDecision DecideCatchUp(std::span<const RunLine> lines);

/// Which rank reports commits.
struct ReporterDecision {
  int rank = 0;
  std::string reason;
};
/// `connected[r]`: rank r has a stream to the coordinator. The lowest of those; rank 0 when none
/// has, which keeps the reports until one is back.
ReporterDecision DecideReporter(const std::vector<bool>& connected);

/// What becomes of a run at the step where every rank has read the same control bits.
struct ControlDecision {
  Left leave = Left::kNo;
  /// Commit now.
  bool commit = false;
  std::string reason;
};
/// `bits`: of all ranks, or-ed. `still_active`: the run has steps left after this one.
ControlDecision DecideControl(uint8_t bits, bool still_active);

/// What a new assignment means for what the session holds.
struct AssignmentDecision {
  enum class Kind {
    kIgnore,   // already working under it, or it is older
    kIdle,     // nothing to do for this worker; the model stays loaded
    kRegroup,  // other members, same pack: model and states stay
    kPrepare,  // another pack: the trainer prepares it, states of runs that stay are kept
  };
  Kind kind = Kind::kIdle;
  std::string reason;
};
/// `held` is the assignment worked under, empty when idle; `self` is this worker.
AssignmentDecision DecideAssignment(const v1::Assignment& held, const v1::Assignment& next,
                                    const v1::WorkerIdentity& self);

/// Which state of a run counts when an assignment arrives.
struct StateDecision {
  bool take_committed = false;
  std::string reason;
};
/// `held_step` and `held_hash` are of the state in memory; `known_hash` is this worker's own hash
/// at the committed step, 0 when it has no record of it.
StateDecision DecideState(uint64_t held_step, uint64_t held_hash, uint64_t known_hash,
                          const v1::RunAssignment& assigned);

/// What an error of the trainer means.
enum class Trouble {
  kSuperseded,  // interrupted: look at what came
  kTryAgain,    // the coordinator or its blobs are away: try again later
  kBadInput,    // the run's inputs cannot be used: it fails
  kDevice,      // this worker cannot do it
};
Trouble Classify(const absl::Status& status);

}  // namespace neolog::session
