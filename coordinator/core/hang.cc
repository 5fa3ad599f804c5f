#include "coordinator/core/hang.h"

#include <fmt/format.h>

#include <algorithm>

namespace neolog::coordinator {
namespace {

bool HasWork(const std::string& phase) { return !phase.empty() && phase != "idle"; }

}  // namespace

absl::Duration Median(std::vector<absl::Duration> durations) {
  if (durations.empty()) return absl::ZeroDuration();
  const auto middle = durations.begin() + static_cast<std::ptrdiff_t>(durations.size() / 2);
  std::nth_element(durations.begin(), middle, durations.end());
  return *middle;
}

bool Moved(const v1::Heartbeat& before, const v1::Heartbeat& now) {
  return before.progress() != now.progress() || before.phase() != now.phase() ||
         before.roster_version() != now.roster_version() || before.waits_for() != now.waits_for();
}

absl::Duration HangLimit(const CoreOptions& options, const ClusterState& state, const Team& team,
                         const std::string& phase) {
  absl::Duration step;
  for (const std::string& run_id : ActiveRuns(state, team)) {
    const auto& times = state.runs.at(run_id).step_times;
    step = std::max(step, Median({times.begin(), times.end()}));
  }
  if ((phase != "stepping" && phase != "regrouping") || step == absl::ZeroDuration())
    return options.hang_limit_unknown;
  return std::max(options.hang_limit, options.hang_steps * step);
}

std::vector<HangDecision> DecideHangs(const CoreOptions& options, const ClusterState& state) {
  std::vector<HangDecision> decisions;
  for (const auto& [team_id, team] : state.teams) {
    if (ActiveRuns(state, team).empty()) continue;
    HangDecision decision{.team_id = team_id};
    bool all_wait = team.roster.members_size() > 1;
    absl::Duration shortest = absl::InfiniteDuration();
    for (const auto& member : team.roster.members()) {
      const auto found = state.workers.find(member.worker().worker_id());
      if (found == state.workers.end() || found->second.lost || !found->second.registered ||
          !SameIdentity(found->second.identity, member.worker())) {
        all_wait = false;  // its lease decides
        continue;
      }
      const Worker& worker = found->second;
      const v1::Heartbeat& heartbeat = worker.heartbeat;
      const absl::Duration still = worker.last_heartbeat - worker.still_since;
      const absl::Duration limit = HangLimit(options, state, team, heartbeat.phase());
      const bool over = HasWork(heartbeat.phase()) && still > limit;
      shortest = std::min(shortest, still);
      all_wait = all_wait && over && heartbeat.waits_for() == v1::Heartbeat::WAITS_FOR_PEERS;
      if (!over || heartbeat.waits_for() != v1::Heartbeat::WAITS_FOR_NOTHING) continue;
      decision.hung.push_back(found->first);
      decision.reason += fmt::format(
          "{}'{}' has made no progress for {:.0f} s while {} (limit {:.0f} s)",
          decision.reason.empty() ? "" : "; ", found->first, absl::ToDoubleSeconds(still),
          heartbeat.phase(), absl::ToDoubleSeconds(limit));
    }
    if (!decision.hung.empty()) {
      decisions.push_back(std::move(decision));
    } else if (all_wait) {
      decision.rebuild = true;
      decision.reason = fmt::format(
          "every member has waited for the others for {:.0f} s: same members, new links",
          absl::ToDoubleSeconds(shortest));
      decisions.push_back(std::move(decision));
    }
  }
  return decisions;
}

}  // namespace neolog::coordinator
