#include <fmt/format.h>

#include <algorithm>

#include "common/base/hash.h"
#include "common/base/version.h"
#include "coordinator/core/commits.h"
#include "coordinator/core/engine.h"
#include "coordinator/core/failures.h"
#include "coordinator/core/hang.h"
#include "coordinator/core/retention.h"
#include "coordinator/core/roster.h"

namespace neolog::coordinator {
namespace {

/// Commits of this long give the rate that status shows.
constexpr absl::Duration kRateWindow = absl::Seconds(10);
/// So many step times give the median that hangs are measured by.
constexpr size_t kStepTimes = 15;

v1::CoordinatorMessage CommittedMessage(const Run& run) {
  v1::CoordinatorMessage message;
  message.mutable_committed()->set_run_id(run.id);
  message.mutable_committed()->set_step(run.committed());
  if (!run.steps.empty()) message.mutable_committed()->set_state_hash(run.steps.back().state_hash);
  return message;
}

/// A member that encodes or steps has the model and accepted every run of the pack.
bool ShowsPrepared(const v1::AssignmentReport& report) {
  return report.phase() == "encoding" || report.phase() == "stepping";
}

/// Place of a run among those assigned to its team, or -1.
int IndexIn(const Team& team, const std::string& run_id) {
  const auto it = std::find(team.run_ids.begin(), team.run_ids.end(), run_id);
  return it == team.run_ids.end() ? -1 : static_cast<int>(it - team.run_ids.begin());
}

}  // namespace

Effects Engine::OnMessage(const Moment& now, LinkId link, const v1::WorkerMessage& message) {
  Turn turn{.now = now};
  if (message.has_register_()) {
    HandleRegister(turn, link, message.worker(), message.register_());
    return Finish(std::move(turn));
  }
  const auto known = links_.find(link);
  const auto found =
      known == links_.end() ? state_.workers.end() : state_.workers.find(known->second.worker_id());
  if (found == state_.workers.end() || !SameIdentity(known->second, message.worker()) ||
      !SameIdentity(found->second.identity, message.worker()) || found->second.lost ||
      found->second.link != link) {
    Refuse(turn, link, v1::Refused::CODE_STALE_INCARNATION,
           fmt::format("worker {} is not registered on this stream, or its incarnation is over: "
                       "register with a new "
                       "incarnation; the model may stay loaded",
                       WorkerName(message.worker())),
           true);
    return Finish(std::move(turn));
  }
  Worker& worker = found->second;
  switch (message.body_case()) {
    case v1::WorkerMessage::kHeartbeat: HandleHeartbeat(turn, worker, message.heartbeat()); break;
    case v1::WorkerMessage::kCommit: HandleCommit(turn, worker, message.commit()); break;
    case v1::WorkerMessage::kAssignment:
      HandleAssignment(turn, worker, message.assignment());
      break;
    case v1::WorkerMessage::kLatent: HandleLatent(turn, worker, message.latent()); break;
    case v1::WorkerMessage::kPeerFailure:
      HandlePeerFailure(turn, worker, message.peer_failure());
      break;
    case v1::WorkerMessage::kArtifact: HandleArtifact(turn, worker, message.artifact()); break;
    case v1::WorkerMessage::kGoodbye:
      links_.erase(link);
      worker.link = 0;
      LoseWorkers(turn, {{worker.identity.worker_id(), "it left: " + message.goodbye().reason()}});
      Send(turn, link, {}, true);
      break;
    case v1::WorkerMessage::kRegister:
    case v1::WorkerMessage::BODY_NOT_SET: break;  // a kind of a newer minor version
  }
  return Finish(std::move(turn));
}

void Engine::Refuse(Turn& turn, LinkId link, v1::Refused::Code code, const std::string& message,
                    bool close) {
  v1::CoordinatorMessage refusal;
  refusal.mutable_refused()->set_code(code);
  refusal.mutable_refused()->set_message(message);
  Send(turn, link, std::move(refusal), close);
}

void Engine::HandleRegister(Turn& turn, LinkId link, const v1::WorkerIdentity& identity,
                            const v1::Register& info) {
  const RegistrationDecision decision = DecideRegistration(state_, identity, info);
  const std::string& id = identity.worker_id();
  if (decision.kind == RegistrationDecision::Kind::kRefuse) {
    Refuse(turn, link, decision.refusal.code(), decision.refusal.message(), true);
    return;
  }
  if (decision.replaces_earlier)
    LoseWorkers(turn, {{id, "another process with its id registered"}});
  if (decision.kind == RegistrationDecision::Kind::kNew) {
    state_.workers[id] = Worker();
    state_.workers[id].registered_at = turn.now.steady;
  }
  Worker& worker = state_.workers.at(id);
  if (worker.link != 0 &&
      worker.link != link) {  // its earlier stream is dead and was not noticed yet
    links_.erase(worker.link);
    Send(turn, worker.link, {}, true);
  }
  worker.identity = identity;
  worker.info = info;
  worker.link = link;
  worker.registered = true;
  worker.last_heartbeat = worker.still_since = turn.now.steady;
  worker.lease_ends = turn.now.steady + options_.lease;
  ++worker.heartbeats;
  links_[link] = identity;
  turn.worker_events.emplace_back(
      id, fmt::format("'{}' {} ({} on '{}', process {})", id, decision.reason,
                      info.capabilities().device(), info.host(), info.process_id()));

  v1::CoordinatorMessage registered;
  registered.mutable_registered()->set_version(kVersion);
  registered.mutable_registered()->set_heartbeat_interval_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.heartbeat_interval)));
  registered.mutable_registered()->set_lease_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.lease)));
  Send(turn, link, std::move(registered));

  turn.place = true;
  const Team* team = TeamOf(state_, identity);
  if (team == nullptr) {
    if (info.has_held() && !info.held().team_id().empty()) {
      v1::CoordinatorMessage idle;
      *idle.mutable_assignment() = IdleAssignment();
      Send(turn, link, std::move(idle));
    }
    return;
  }
  const std::string team_id = team->roster.team_id();
  const std::vector<std::string> active = ActiveRuns(state_, *team);
  const bool holds_it = info.has_held() && info.held().team_id() == team_id &&
                        info.held().roster_version() == team->roster.version();
  if (active.empty()) {
    if (!holds_it || info.held().phase() == "done") {
      state_.teams.at(team_id).done.insert(id);
      DisbandIfDone(turn, team_id);
    }
    return;
  }
  if (!holds_it) {
    v1::CoordinatorMessage message;
    *message.mutable_assignment() = AssignmentOf(state_, *team);
    Send(turn, link, std::move(message));
  } else {
    if (ShowsPrepared(info.held()))
      state_.teams.at(team_id).prepared.insert(IncarnationOf(identity));
    for (const std::string& run : active) Send(turn, link, CommittedMessage(state_.runs.at(run)));
  }
  SendControls(turn, *team, link);
  if (holds_it && info.held().phase() == "done")
    HandleDone(turn, state_.workers.at(id), info.held());
}

void Engine::HandleHeartbeat(Turn& turn, Worker& worker, const v1::Heartbeat& heartbeat) {
  const bool phase_changed = worker.heartbeat.phase() != heartbeat.phase();
  const std::string& id = worker.identity.worker_id();
  if (Moved(worker.heartbeat, heartbeat)) {
    worker.still_since = turn.now.steady;
    if (!worker.hung.empty()) {
      worker.hung.clear();
      turn.place = true;
      turn.worker_events.emplace_back(id, fmt::format("'{}' moves again", id));
    }
  }
  worker.heartbeat = heartbeat;
  worker.last_heartbeat = turn.now.steady;
  worker.lease_ends = turn.now.steady + options_.lease;
  ++worker.heartbeats;
  if (!phase_changed) return;
  turn.worker_events.emplace_back(id, fmt::format("'{}' is {}", id, heartbeat.phase()));
  if (heartbeat.phase() != "idle") return;
  const Team* team = TeamOf(state_, worker.identity);
  if (team == nullptr || !ActiveRuns(state_, *team).empty()) return;
  state_.teams.at(team->roster.team_id()).done.insert(id);
  DisbandIfDone(turn, team->roster.team_id());
}

void Engine::HandleCommit(Turn& turn, Worker& worker, const v1::CommitReport& report) {
  const CommitDecision decision = DecideCommit(state_, worker.identity, report);
  switch (decision.kind) {
    case CommitDecision::Kind::kStale:
      Refuse(turn, worker.link, v1::Refused::CODE_STALE_ROSTER, decision.reason, false);
      return;
    case CommitDecision::Kind::kKnown:
    case CommitDecision::Kind::kGap:
      Send(turn, worker.link, CommittedMessage(state_.runs.at(report.run_id())));
      return;
    case CommitDecision::Kind::kDiverged: {
      Refuse(turn, worker.link, v1::Refused::CODE_DIVERGED, decision.reason, false);
      if (!state_.runs.at(report.run_id()).in_team) return;
      v1::RunFailure failure;
      failure.set_kind(v1::RunFailure::KIND_DIVERGED);
      failure.set_step(decision.step);
      failure.set_message(fmt::format(
          "a commit from '{}' contradicts what is committed: {}. The committed state is kept; "
          "check that worker's memory and build, then resume the run",
          worker.identity.worker_id(), decision.reason));
      FailRuns(turn, report.team_id(), {report.run_id()}, failure, /*left_the_pack=*/false);
      return;
    }
    case CommitDecision::Kind::kCommit: break;
  }
  Commit(turn, worker.identity, report, decision.first_new);
}

void Engine::Commit(Turn& turn, const v1::WorkerIdentity& reporter, const v1::CommitReport& report,
                    int first_new) {
  const std::string& run_id = report.run_id();
  Run& run = state_.runs.at(run_id);
  const uint64_t before = run.committed();
  const bool drop = before > 0 && !run.last_is_checkpoint;
  v1::JournalRecord record;
  v1::StepsCommitted& committed = *record.mutable_steps_committed();
  committed.set_run_id(run_id);
  for (int i = first_new; i < report.steps_size(); ++i) *committed.add_steps() = report.steps(i);
  committed.set_state_digest(Sha256Hex(report.state()));
  *committed.mutable_worker() = reporter;
  committed.set_roster_version(report.roster_version());
  Write(turn, std::move(record));
  turn.effects.batch.put_states.push_back({{run_id, run.committed()}, report.state()});
  if (drop) turn.effects.batch.drop_states.push_back({run_id, before});
  run.committed_state = report.state();
  if (!run.rate_window.empty()) {
    const auto& [time, step] = run.rate_window.back();
    run.step_times.push_back((turn.now.steady - time) /
                             static_cast<int64_t>(run.committed() - step));
    if (run.step_times.size() > kStepTimes) run.step_times.pop_front();
  }
  run.rate_window.emplace_back(turn.now.steady, run.committed());
  while (turn.now.steady - run.rate_window.front().first > kRateWindow) run.rate_window.pop_front();
  turn.step_events.insert(run_id);

  const Team& team = state_.teams.at(report.team_id());
  for (const LinkId link : LinksOf(team)) Send(turn, link, CommittedMessage(run));
  if (!run.in_team) return;  // the last good steps of a run that failed
  if (run.committed() == run.total()) {
    MoveRun(turn, run_id, RunEvent::kLastStep,
            fmt::format("all {} steps are committed", run.total()));
    DisbandIfDone(turn, report.team_id());
  } else if (run.leaving_step != 0) {
    NoteLeaving(turn, run_id, run.leaving_step);
  }
}

void Engine::NoteLeaving(Turn& turn, const std::string& run_id, uint64_t step) {
  Run& run = state_.runs.at(run_id);
  if (!run.in_team || (run.state != v1::RUN_STATE_PAUSING && run.state != v1::RUN_STATE_STOPPING))
    return;
  run.leaving_step = std::max(run.leaving_step, step);
  if (run.committed() < run.leaving_step) return;  // its last commit is on another member's stream
  MoveRun(turn, run_id, RunEvent::kLeft, fmt::format("as asked, after step {}", run.committed()));
  DisbandIfDone(turn, run.team_id);
}

void Engine::HandleAssignment(Turn& turn, Worker& worker, const v1::AssignmentReport& report) {
  const auto team = state_.teams.find(report.team_id());
  const bool over = team == state_.teams.end() ||
                    team->second.roster.version() != report.roster_version() ||
                    !IsMember(team->second.roster, worker.identity);
  const bool matters = report.phase() == "done" || report.phase() == "failed";
  if (over) {
    if (matters && team != state_.teams.end()) {
      Refuse(turn, worker.link, v1::Refused::CODE_STALE_ROSTER,
             fmt::format("roster version {} of team '{}' is no longer current",
                         report.roster_version(), report.team_id()),
             false);
    }
    return;
  }
  if (ShowsPrepared(report)) team->second.prepared.insert(IncarnationOf(worker.identity));
  if (report.phase() == "failed") HandleFailed(turn, worker, report);
  if (report.phase() == "done") HandleDone(turn, worker, report);
}

void Engine::HandleDone(Turn& turn, Worker& worker, const v1::AssignmentReport& report) {
  const std::string& team_id = report.team_id();
  const std::vector<std::string> runs = state_.teams.at(team_id).run_ids;
  for (const std::string& run_id : runs) {
    if (!report.run_id().empty() && report.run_id() != run_id) continue;
    const auto team = state_.teams.find(team_id);
    if (team == state_.teams.end()) return;
    const int index = IndexIn(team->second, run_id);
    if (index >= 0 && index < report.steps_size()) {
      NoteLeaving(turn, run_id, report.steps(index));
    } else if (SameIdentity(team->second.roster.members(0).worker(), worker.identity)) {
      NoteLeaving(
          turn, run_id,
          state_.runs.at(run_id).committed());  // the reporter: its commits came before this
    }
  }
  const auto team = state_.teams.find(team_id);
  if (team == state_.teams.end() || !report.run_id().empty()) return;
  team->second.done.insert(worker.identity.worker_id());
  DisbandIfDone(turn, team_id);
}

void Engine::HandleFailed(Turn& turn, Worker& worker, const v1::AssignmentReport& report) {
  using Kind = FailureDecision::Kind;
  const std::string team_id = report.team_id();
  const std::string& id = worker.identity.worker_id();
  const FailureDecision decision = DecideFailure(state_, state_.teams.at(team_id), worker, report);
  v1::RunFailure failure = report.failure();
  failure.set_message(decision.reason);
  switch (decision.kind) {
    case Kind::kIgnore: return;
    case Kind::kRunLeft:
      FailRuns(turn, team_id, decision.run_ids, failure, /*left_the_pack=*/true);
      return;
    case Kind::kFailRun:
      FailRuns(turn, team_id, decision.run_ids, failure, /*left_the_pack=*/false);
      return;
    case Kind::kDropWorker: break;
  }
  for (const std::string& run_id : decision.run_ids) {
    state_.runs.at(run_id).barred[IncarnationOf(worker.identity)] = decision.dropped_because;
  }
  for (const std::string& run_id : decision.stranded) {
    MoveRun(turn, run_id, RunEvent::kFailed, failure.message(), &failure);
  }
  if (ActiveRuns(state_, state_.teams.at(team_id)).empty()) {
    Disband(turn, team_id, "its runs failed: " + failure.message());
  } else {
    ChangeRoster(turn, team_id, {id}, {}, decision.dropped_because);
  }
  turn.place = true;
}

void Engine::FailRuns(Turn& turn, const std::string& team_id,
                      const std::vector<std::string>& run_ids, const v1::RunFailure& failure,
                      bool left_the_pack) {
  for (const std::string& run_id : run_ids)
    MoveRun(turn, run_id, RunEvent::kFailed, failure.message(), &failure);
  // The pack was left where every rank saw the same at the same step (a number that is not finite,
  // states that differ): the reporter may still commit the good steps before it. After any other
  // failure the ranks are not together any more.
  if (left_the_pack) {
    DisbandIfDone(turn, team_id);
  } else if (ActiveRuns(state_, state_.teams.at(team_id)).empty()) {
    Disband(turn, team_id, "its runs failed: " + failure.message());
  } else {
    ChangeRoster(turn, team_id, {}, {}, "a run of the pack failed: " + failure.message());
  }
}

void Engine::HandleLatent(Turn& turn, Worker& worker, const v1::LatentReport& report) {
  const Team* team = TeamOf(state_, worker.identity);
  const auto known = state_.latents.find(report.key());
  if (known == state_.latents.end() && report.blob_digest().empty()) {
    v1::CoordinatorMessage nobody_has_it;
    *nobody_has_it.mutable_latent() = report;
    Send(turn, worker.link, std::move(nobody_has_it));
    return;
  }
  std::vector<std::string> users;
  if (team != nullptr) {
    for (const std::string& run : ActiveRuns(state_, *team)) {
      const auto keys = state_.run_latents.find(run);
      if (keys == state_.run_latents.end() || keys->second.count(report.key()) == 0)
        users.push_back(run);
    }
  }
  const bool first = known == state_.latents.end();
  if (first || !users.empty()) {
    v1::JournalRecord record;
    *record.mutable_latent_chosen()->mutable_latent() = first ? report : known->second;
    for (const std::string& run : users) record.mutable_latent_chosen()->add_run_ids(run);
    Write(turn, std::move(record));
  }
  v1::CoordinatorMessage message;
  *message.mutable_latent() = state_.latents.at(report.key());
  if (team == nullptr || !first) {
    Send(turn, worker.link, std::move(message));
    return;
  }
  for (const LinkId link : LinksOf(*team)) Send(turn, link, message);
}

void Engine::HandlePeerFailure(Turn& turn, Worker& worker, const v1::PeerFailure& failure) {
  const AccusationDecision decision = DecideAccusation(state_, worker.identity, failure);
  const std::string& accused_id = failure.peer().worker_id();
  switch (decision.kind) {
    case AccusationDecision::Kind::kIgnore: return;
    case AccusationDecision::Kind::kLost:
      LoseWorkers(turn, {{accused_id, decision.reason}});
      return;
    case AccusationDecision::Kind::kSuspect: break;
  }
  Worker& accused = state_.workers.at(accused_id);
  if (accused.suspicion) return;
  accused.suspicion = Suspicion{.accuser = worker.identity.worker_id(),
                                .message = failure.message(),
                                .decide_at = turn.now.steady + options_.suspicion_wait,
                                .heartbeats_before = accused.heartbeats};
  turn.worker_events.emplace_back(accused_id, fmt::format("'{}': {}", accused_id, decision.reason));
}

void Engine::HandleArtifact(Turn& turn, Worker& worker, const v1::ArtifactReport& report) {
  const auto run = state_.runs.find(report.run_id());
  if (run == state_.runs.end()) {
    Refuse(turn, worker.link, v1::Refused::CODE_STALE_ROSTER,
           fmt::format("there is no run '{}'", report.run_id()), false);
    return;
  }
  for (const v1::ArtifactReport& known : run->second.artifacts) {
    if (known.step() == report.step() && known.kind() == report.kind() &&
        known.index() == report.index())
      return;
  }
  v1::JournalRecord record;
  *record.mutable_artifact_made()->mutable_artifact() = report;
  Write(turn, std::move(record));
}

}  // namespace neolog::coordinator
