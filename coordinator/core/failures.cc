#include "coordinator/core/failures.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/profile.h"

namespace neolog::coordinator {
namespace {

/// A live member other than `reporter` that has shown that it can compute the team's pack, or null.
const Worker* PreparedMember(const ClusterState& state, const Team& team, const Worker& reporter) {
  for (const auto& member : team.roster.members()) {
    if (SameIdentity(member.worker(), reporter.identity)) continue;
    const auto worker = state.workers.find(member.worker().worker_id());
    if (worker == state.workers.end() || worker->second.lost) continue;
    if (team.prepared.count(IncarnationOf(member.worker())) != 0) return &worker->second;
  }
  return nullptr;
}

/// Whether some worker but `reporter`, busy or not, could train the run.
bool AnotherCould(const ClusterState& state, const Team& team, const Run& run,
                  const Worker& reporter) {
  return std::any_of(state.workers.begin(), state.workers.end(), [&](const auto& entry) {
    const Worker& worker = entry.second;
    if (worker.lost || SameIdentity(worker.identity, reporter.identity)) return false;
    if (IsMember(team.roster, worker.identity)) return true;
    return worker.registered && WhyNot(run, worker).empty();
  });
}

}  // namespace

FailureDecision DecideFailure(const ClusterState& state, const Team& team, const Worker& reporter,
                              const v1::AssignmentReport& report) {
  using Kind = FailureDecision::Kind;
  FailureDecision decision;
  for (const std::string& run_id : ActiveRuns(state, team)) {
    if (report.run_id().empty() || report.run_id() == run_id) decision.run_ids.push_back(run_id);
  }
  const std::string& id = reporter.identity.worker_id();
  decision.reason = fmt::format("{} (worker '{}')", report.failure().message(), id);
  if (decision.run_ids.empty()) return decision;
  if (!report.run_id().empty()) {
    if (report.failure().kind() != v1::RunFailure::KIND_BAD_INPUT) {
      decision.kind = Kind::kRunLeft;
      return decision;
    }
    // A member that came as far as stepping itself found something in the inputs, which are the
    // same bytes for everyone; asking each of the others would only cost a roster each.
    const bool newcomer = team.prepared.count(IncarnationOf(reporter.identity)) == 0;
    const Worker* other = newcomer ? PreparedMember(state, team, reporter) : nullptr;
    if (other == nullptr) {
      decision.kind = Kind::kFailRun;
      return decision;
    }
    decision.dropped_because =
        fmt::format("'{}' cannot use run '{}' although '{}' can: {}", id, report.run_id(),
                    other->identity.worker_id(), report.failure().message());
  } else {
    decision.dropped_because = fmt::format("'{}' cannot go on: {}", id, report.failure().message());
  }
  decision.kind = Kind::kDropWorker;
  for (const std::string& run_id : decision.run_ids) {
    if (!AnotherCould(state, team, state.runs.at(run_id), reporter))
      decision.stranded.push_back(run_id);
  }
  return decision;
}

}  // namespace neolog::coordinator
