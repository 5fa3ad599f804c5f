#include "coordinator/core/status_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/profile.h"

namespace neolog::coordinator {
namespace {

void SetTime(absl::Time time, google::protobuf::Timestamp& out) {
  const int64_t nanos = absl::ToUnixNanos(time);
  out.set_seconds(nanos / 1'000'000'000);
  out.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

/// Steps a second over the commits of the window; 0 when nothing is known.
double RateOf(const Run& run, SteadyTime now) {
  if (run.rate_window.size() < 2 || !run.in_team) return 0;
  const auto& [first_time, first_step] = run.rate_window.front();
  const auto& [last_time, last_step] = run.rate_window.back();
  // A team that stalls shows a falling rate: the time since the last commit counts once it is
  // longer than usual.
  const double span = absl::ToDoubleSeconds(last_time - first_time);
  const double per_commit = span / static_cast<double>(run.rate_window.size() - 1);
  const double silence = absl::ToDoubleSeconds(now - last_time);
  const double seconds = silence > 3 * per_commit ? span + silence : span;
  return seconds <= 0 ? 0 : static_cast<double>(last_step - first_step) / seconds;
}

std::string IdleReason(const ClusterState& state, const Worker& worker) {
  for (const auto& [id, run] : state.runs) {
    if (run.state != v1::RUN_STATE_QUEUED && run.state != v1::RUN_STATE_RUNNING) continue;
    const std::string why_not = WhyNot(run, worker);
    if (!why_not.empty()) return fmt::format("idle; does not fit run '{}': {}", id, why_not);
  }
  return "idle";
}

}  // namespace

v1::RunInfo InfoOf(const ClusterState& state, const Run& run, SteadyTime now) {
  v1::RunInfo info;
  info.set_run_id(run.id);
  *info.mutable_spec() = run.spec;
  info.set_state(run.state);
  const bool waits = run.state == v1::RUN_STATE_QUEUED && !run.waiting.empty();
  info.set_reason(waits ? run.reason + "; " + run.waiting : run.reason);
  info.set_step(run.committed());
  info.set_total_steps(run.total());
  if (!run.steps.empty()) {
    info.set_loss(run.steps.back().loss);
    info.set_smoothed_loss(static_cast<float>(run.smoothed_loss));
    info.set_learning_rate(run.steps.back().learning_rate);
  }
  const double rate = RateOf(run, now);
  info.set_steps_per_second(static_cast<float>(rate));
  const uint64_t left = run.total() > run.committed() ? run.total() - run.committed() : 0;
  info.set_eta_seconds(left == 0 ? 0 : rate > 0 ? static_cast<double>(left) / rate : -1);
  SetTime(run.submitted_at, *info.mutable_submitted_at());
  if (run.started_at != absl::InfinitePast()) SetTime(run.started_at, *info.mutable_started_at());
  if (run.ended_at != absl::InfinitePast()) SetTime(run.ended_at, *info.mutable_ended_at());
  const auto team = state.teams.find(run.team_id);
  if (run.in_team && team != state.teams.end()) *info.mutable_roster() = team->second.roster;
  if (run.failure.kind() != v1::RunFailure::KIND_UNSPECIFIED) *info.mutable_failure() = run.failure;
  info.set_state_digest(run.state_digest);
  if (run.profile) *info.mutable_profile() = *run.profile;
  info.set_log_dir(run.log_dir);
  return info;
}

v1::WorkerInfo InfoOf(const ClusterState& state, const Worker& worker, SteadyTime now) {
  v1::WorkerInfo info;
  *info.mutable_worker() = worker.identity;
  info.set_host(worker.info.host());
  info.set_process_id(worker.info.process_id());
  *info.mutable_capabilities() = worker.info.capabilities();
  info.set_peer_address(worker.info.peer_address());
  if (worker.registered) {
    info.set_heartbeat_age_seconds(absl::ToDoubleSeconds(now - worker.last_heartbeat));
    if (worker.heartbeat.has_device_sample())
      *info.mutable_device_sample() = worker.heartbeat.device_sample();
  }
  if (worker.lost) {
    info.set_state("lost");
    info.set_reason(worker.reason);
    return info;
  }
  const Team* team = TeamOf(state, worker.identity);
  if (!worker.hung.empty()) {
    info.set_state("hung");
    info.set_reason(worker.hung);
    return info;
  }
  if (team == nullptr) {
    info.set_state("idle");
    info.set_reason(IdleReason(state, worker));
    return info;
  }
  const std::string& phase = worker.heartbeat.phase();
  info.set_state(phase.empty() || phase == "idle" ? "regrouping" : phase);
  const std::vector<std::string> active = ActiveRuns(state, *team);
  if (!active.empty()) info.set_run_id(active.front());
  if (worker.heartbeat.steps_size() > 0) info.set_step(worker.heartbeat.steps(0));
  if (!worker.registered) {
    info.set_reason("expected back after the coordinator's restart");
  } else if (worker.link == 0) {
    info.set_reason("its stream is closed; waiting for it to come back");
  } else {
    info.set_reason(team->roster.reason());
  }
  return info;
}

v1::GetStatusResponse StatusOf(const ClusterState& state, SteadyTime now) {
  v1::GetStatusResponse status;
  std::vector<const Run*> runs;
  for (const auto& [id, run] : state.runs) runs.push_back(&run);
  std::sort(runs.begin(), runs.end(),
            [](const Run* a, const Run* b) { return a->order > b->order; });
  for (const Run* run : runs) *status.add_runs() = InfoOf(state, *run, now);
  for (const auto& [id, worker] : state.workers) *status.add_workers() = InfoOf(state, worker, now);
  return status;
}

}  // namespace neolog::coordinator
