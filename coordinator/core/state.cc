#include "coordinator/core/state.h"

namespace neolog::coordinator {

bool IsMember(const v1::Roster& roster, const v1::WorkerIdentity& worker) {
  for (const auto& member : roster.members()) {
    if (SameIdentity(member.worker(), worker)) return true;
  }
  return false;
}

const Team* TeamOf(const ClusterState& state, const v1::WorkerIdentity& worker) {
  for (const auto& [id, team] : state.teams) {
    if (IsMember(team.roster, worker)) return &team;
  }
  return nullptr;
}

std::vector<std::string> ActiveRuns(const ClusterState& state, const Team& team) {
  std::vector<std::string> active;
  for (const std::string& id : team.run_ids) {
    const auto run = state.runs.find(id);
    if (run != state.runs.end() && run->second.in_team &&
        run->second.team_id == team.roster.team_id()) {
      active.push_back(id);
    }
  }
  return active;
}

}  // namespace neolog::coordinator
