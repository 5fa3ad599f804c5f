#pragma once

#include <string>

#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// What becomes of a commit report.
struct CommitDecision {
  enum class Kind {
    kCommit,    ///< journal steps from `first_new` on, and the state
    kKnown,     ///< everything in it is committed already: answer where the journal stands
    kGap,       ///< it begins after the next step: answer where the journal stands
    kStale,     ///< another roster is current, or the sender is no member
    kDiverged,  ///< a committed step has another hash, or the state does not fit its hash
  };
  Kind kind = Kind::kStale;
  /// Index in the report's steps of the first one that is new; for kCommit.
  int first_new = 0;
  /// The step that differs; for kDiverged.
  uint64_t step = 0;
  /// Why, in words.
  std::string reason;
};

/// Decides about a report from `worker`. Steps must be consecutive; the range must begin at or
/// before the step after the last committed one. Committed steps with the same hash are ignored.
/// The state must hash to the last record's state_hash and have its step.
CommitDecision DecideCommit(const ClusterState& state, const v1::WorkerIdentity& worker,
                            const v1::CommitReport& report);

}  // namespace neolog::coordinator
