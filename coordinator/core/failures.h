#pragma once

#include <string>
#include <vector>

#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// What a member's report of a failure comes to.
struct FailureDecision {
  enum class Kind {
    kIgnore,   ///< no run of the team is concerned any more
    kRunLeft,  ///< the run left the pack at every rank at the same step: it fails, nobody regroups
    kFailRun,  ///< the run's own inputs cannot be used: it fails, its packmates go on under a new
               ///< roster
    kDropWorker,  ///< the fault is the reporter's: it leaves the team, the others go on
  };
  Kind kind = Kind::kIgnore;
  /// The runs it is about. kDropWorker: those that the reporter may not train again.
  std::vector<std::string> run_ids;
  /// kDropWorker: those of `run_ids` that no other worker of the cluster could train; they fail.
  std::vector<std::string> stranded;
  /// What runs that fail are told.
  std::string reason;
  /// kDropWorker: why, for the new roster and for status.
  std::string dropped_because;
};

/// Decides about a report with phase "failed" from a member of `team` under its current roster. One
/// that names a run and says KIND_BAD_INPUT is about the run's inputs, unless the reporter never
/// came as far as computing the pack while another member can: then the reporter's copy is at
/// fault. One that names none is always about the reporter.
FailureDecision DecideFailure(const ClusterState& state, const Team& team, const Worker& reporter,
                              const v1::AssignmentReport& report);

}  // namespace neolog::coordinator
