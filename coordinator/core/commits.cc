#include "coordinator/core/commits.h"

#include <fmt/format.h>

#include "common/base/hash.h"

namespace neolog::coordinator {
namespace {

using Kind = CommitDecision::Kind;

CommitDecision Because(Kind kind, std::string reason, uint64_t step = 0) {
  CommitDecision decision;
  decision.kind = kind;
  decision.step = step;
  decision.reason = std::move(reason);
  return decision;
}

/// The run that the report is about, when the sender may report for it now.
const Run* FindReportable(const ClusterState& state, const v1::WorkerIdentity& worker,
                          const v1::CommitReport& report, std::string& why_not) {
  const auto team = state.teams.find(report.team_id());
  if (team == state.teams.end()) {
    why_not = fmt::format("team '{}' was disbanded", report.team_id());
    return nullptr;
  }
  const v1::Roster& roster = team->second.roster;
  if (roster.version() != report.roster_version()) {
    why_not = fmt::format("roster version {} of team '{}' is no longer current, {} is",
                          report.roster_version(), report.team_id(), roster.version());
    return nullptr;
  }
  if (!IsMember(roster, worker)) {
    why_not = fmt::format("'{}' is no member of team '{}'", worker.worker_id(), report.team_id());
    return nullptr;
  }
  const auto run = state.runs.find(report.run_id());
  if (run == state.runs.end() || run->second.team_id != report.team_id()) {
    why_not =
        fmt::format("run '{}' is not assigned to team '{}'", report.run_id(), report.team_id());
    return nullptr;
  }
  return &run->second;
}

}  // namespace

CommitDecision DecideCommit(const ClusterState& state, const v1::WorkerIdentity& worker,
                            const v1::CommitReport& report) {
  std::string why_not;
  const Run* run = FindReportable(state, worker, report, why_not);
  if (run == nullptr) return Because(Kind::kStale, why_not);
  if (report.steps().empty()) return Because(Kind::kKnown, "no steps in the report");

  const uint64_t first = report.steps(0).step();
  if (first == 0) return Because(Kind::kDiverged, "step numbers begin at 1", 0);
  for (int i = 0; i < report.steps_size(); ++i) {
    const v1::StepRecord& record = report.steps(i);
    if (record.step() != first + static_cast<uint64_t>(i)) {
      return Because(Kind::kDiverged,
                     fmt::format("step {} follows step {} in the report", record.step(),
                                 first + static_cast<uint64_t>(i) - 1),
                     record.step());
    }
    if (record.step() <= run->committed() &&
        run->steps[record.step() - 1].state_hash != record.state_hash()) {
      return Because(
          Kind::kDiverged,
          fmt::format("the state after step {} has hash {:016x} on '{}', {:016x} is committed",
                      record.step(), record.state_hash(), worker.worker_id(),
                      run->steps[record.step() - 1].state_hash),
          record.step());
    }
  }
  const v1::StepRecord& last = *report.steps().rbegin();
  if (last.step() > run->total()) {
    return Because(
        Kind::kDiverged,
        fmt::format("step {} is beyond the run's last step {}", last.step(), run->total()),
        last.step());
  }
  if (last.step() <= run->committed()) return Because(Kind::kKnown, "already committed");
  if (first > run->committed() + 1) {
    return Because(Kind::kGap,
                   fmt::format("the report begins at step {}, step {} is the next", first,
                               run->committed() + 1),
                   first);
  }
  if (Hash64(report.state()) != last.state_hash()) {
    return Because(
        Kind::kDiverged,
        fmt::format("the state's {} bytes have hash {:016x}, the record of step {} says "
                    "{:016x}",
                    report.state().size(), Hash64(report.state()), last.step(), last.state_hash()),
        last.step());
  }
  v1::TrainState parsed;
  if (!parsed.ParseFromString(report.state()) || parsed.step() != last.step()) {
    return Because(Kind::kDiverged,
                   fmt::format("the state is not a TrainState after step {}", last.step()),
                   last.step());
  }
  CommitDecision decision = Because(Kind::kCommit, "");
  decision.first_new = static_cast<int>(run->committed() + 1 - first);
  return decision;
}

}  // namespace neolog::coordinator
