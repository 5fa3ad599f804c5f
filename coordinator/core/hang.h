#pragma once

#include <string>
#include <vector>

#include "coordinator/core/options.h"
#include "coordinator/core/state.h"

namespace neolog::coordinator {

// A worker's heartbeat goes on while its computing stands still (a kernel that never ends, a dead
// file server): its lease lives, and its peers would wait for it for ever.

/// Whether a heartbeat says something else than the one before, as far as hangs are concerned.
bool Moved(const v1::Heartbeat& before, const v1::Heartbeat& now);

/// How long a member of the team in this phase may say the same before it is taken for hung: the
/// larger of `hang_limit` and `hang_steps` median steps while stepping or regrouping;
/// `hang_limit_unknown` in any other phase, and while no step's time is known.
absl::Duration HangLimit(const CoreOptions& options, const ClusterState& state, const Team& team,
                         const std::string& phase);

/// What is to be done about a team that stands still.
struct HangDecision {
  std::string team_id;
  /// Members whose own computing stands still; they leave the team.
  std::vector<std::string> hung;
  /// Nobody computes, everybody waits for the others: the same members get new links.
  bool rebuild = false;
  /// Why, in words.
  std::string reason;
};

/// Decides about every team with runs to train, from the last heartbeats. A member that waits for
/// its peers or the coordinator is never at fault, however long it waits. Time is counted up to a
/// member's last heartbeat, so that a coordinator that was stopped itself accuses nobody.
std::vector<HangDecision> DecideHangs(const CoreOptions& options, const ClusterState& state);

/// The middle of the durations; zero when there are none.
absl::Duration Median(std::vector<absl::Duration> durations);

}  // namespace neolog::coordinator
