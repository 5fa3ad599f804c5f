#include "coordinator/core/roster.h"

#include <fmt/format.h>

namespace neolog::coordinator {

CollectiveDecision DecideCollective(const v1::Roster& roster) {
  const v1::RosterMember* with = nullptr;
  const v1::RosterMember* without = nullptr;
  for (const v1::RosterMember& member : roster.members()) {
    (member.nccl().empty() ? without : with) = &member;
  }
  if (with == nullptr || roster.members_size() == 1) return {"peer", ""};
  if (without != nullptr) {
    return {"peer", fmt::format("gathers over peers, since '{}' has no NCCL",
                                without->worker().worker_id())};
  }
  for (const v1::RosterMember& member : roster.members()) {
    if (member.nccl() == with->nccl()) continue;
    return {"peer", fmt::format("gathers over peers, since '{}' has NCCL {} and '{}' NCCL {}",
                                member.worker().worker_id(), member.nccl(),
                                with->worker().worker_id(), with->nccl())};
  }
  return {"nccl", fmt::format("gathers over NCCL {}", with->nccl())};
}

v1::Roster NextRoster(const v1::Roster& current, const std::set<std::string>& gone,
                      const std::vector<v1::RosterMember>& newcomers, const std::string& reason) {
  v1::Roster next;
  next.set_team_id(current.team_id());
  next.set_version(current.version() + 1);
  for (const auto& member : current.members()) {
    if (gone.count(member.worker().worker_id()) == 0) *next.add_members() = member;
  }
  for (const auto& member : newcomers) *next.add_members() = member;
  const CollectiveDecision decision = DecideCollective(next);
  next.set_collective(decision.collective);
  next.set_reason(decision.reason.empty() ? reason
                                          : fmt::format("{}; {}", reason, decision.reason));
  return next;
}

v1::Roster FirstRoster(const std::string& team_id, const std::vector<v1::RosterMember>& members,
                       const std::string& reason) {
  v1::Roster none;
  none.set_team_id(team_id);
  return NextRoster(none, {}, members, reason);
}

v1::RosterMember MemberOf(const Worker& worker) {
  v1::RosterMember member;
  *member.mutable_worker() = worker.identity;
  member.set_peer_address(worker.info.peer_address());
  member.set_nccl(worker.info.capabilities().nccl());
  return member;
}

v1::Assignment AssignmentOf(const ClusterState& state, const Team& team) {
  v1::Assignment assignment;
  assignment.set_team_id(team.roster.team_id());
  *assignment.mutable_roster() = team.roster;
  *assignment.mutable_profile() = team.profile;
  std::set<std::string> keys;
  for (const std::string& id : ActiveRuns(state, team)) {
    const Run& run = state.runs.at(id);
    v1::RunAssignment& assigned = *assignment.add_runs();
    assigned.set_run_id(id);
    *assigned.mutable_spec() = run.spec;
    assigned.set_committed_step(run.committed());
    assigned.set_committed_state(run.committed_state);
    if (!run.steps.empty()) assigned.set_committed_hash(run.steps.back().state_hash);
    const auto known = state.run_latents.find(id);
    if (known != state.run_latents.end()) keys.insert(known->second.begin(), known->second.end());
  }
  for (const std::string& key : keys) *assignment.add_latents() = state.latents.at(key);
  return assignment;
}

v1::Assignment IdleAssignment() { return v1::Assignment(); }

}  // namespace neolog::coordinator
