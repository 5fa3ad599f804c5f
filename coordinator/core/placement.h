#pragma once

#include <string>
#include <vector>

#include "coordinator/core/options.h"
#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// A team to form.
struct Placement {
  std::vector<std::string> run_ids;     // in pack order
  std::vector<std::string> worker_ids;  // in rank order
  v1::NumericProfile profile;
  std::string reason;
};

/// Idle workers that a running team takes in.
struct Growth {
  std::string team_id;
  std::vector<std::string> worker_ids;
  std::string reason;
};

/// Why a queued run is not placed yet.
struct Waiting {
  std::string run_id;
  std::string reason;
};

/// What to do about queued runs and idle workers now.
struct PlacementDecision {
  std::vector<Placement> teams;
  std::vector<Growth> growths;
  std::vector<Waiting> waiting;
};

/// Live, connected workers in no team that are not taken for hung, by id.
std::vector<std::string> IdleWorkers(const ClusterState& state);

/// Whether two runs may share a pack: everything that the numeric profile and the frozen model
/// depend on is equal, and so is the number of workers they ask for.
bool Compatible(const Run& a, const Run& b);

/// Places queued runs in order of submission on idle workers, then lets running teams that may have
/// more members take the rest. The rules are in README.md under "Placement and packs".
PlacementDecision Place(const CoreOptions& options, const ClusterState& state, SteadyTime now);

}  // namespace neolog::coordinator
