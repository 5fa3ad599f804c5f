#include "coordinator/core/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/hash.h"
#include "coordinator/core/apply.h"
#include "coordinator/core/hang.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/roster.h"
#include "coordinator/core/status_view.h"

namespace neolog::coordinator {

absl::Status Engine::Restore(const v1::JournalRecord& record) { return Apply(record, state_); }

std::vector<StateKey> Engine::NeededStates() const {
  std::vector<StateKey> keys;
  for (const auto& [id, run] : state_.runs) {
    if (run.committed() > 0) keys.push_back({id, run.committed()});
  }
  return keys;
}

absl::Status Engine::RestoreState(const StateKey& key, std::string bytes) {
  const auto run = state_.runs.find(key.run_id);
  if (run == state_.runs.end() || run->second.committed() != key.step) {
    return Internal(
        fmt::format("the state of run '{}' after step {} was not asked for", key.run_id, key.step));
  }
  const uint64_t want = run->second.steps.back().state_hash;
  if (Hash64(bytes) != want) {
    return DataLoss(fmt::format(
        "journal: the state of run '{}' after step {} has hash {:016x}, its record says {:016x}",
        key.run_id, key.step, Hash64(bytes), want));
  }
  run->second.committed_state = std::move(bytes);
  return absl::OkStatus();
}

Effects Engine::Start(const Moment& now) {
  Turn turn{.now = now};
  for (const auto& [id, team] : state_.teams) {
    for (const auto& member : team.roster.members()) {
      Worker worker;
      worker.identity = member.worker();
      worker.info.set_peer_address(member.peer_address());
      worker.registered_at = worker.last_heartbeat = worker.still_since = now.steady;
      worker.lease_ends = now.steady + options_.restart_grace;
      state_.workers[member.worker().worker_id()] = std::move(worker);
    }
  }
  turn.place = true;
  return Finish(std::move(turn));
}

Effects Engine::OnLinkClosed(const Moment& now, LinkId link) {
  Turn turn{.now = now};
  const auto known = links_.find(link);
  if (known == links_.end()) return Finish(std::move(turn));
  const v1::WorkerIdentity identity = known->second;
  links_.erase(known);
  const auto found = state_.workers.find(identity.worker_id());
  if (found == state_.workers.end() || found->second.link != link) return Finish(std::move(turn));
  Worker& worker = found->second;
  worker.link = 0;
  if (worker.lost) return Finish(std::move(turn));
  if (worker.suspicion) {
    LoseWorkers(turn, {{identity.worker_id(),
                        fmt::format("its stream closed, and '{}' could not reach it either: {}",
                                    worker.suspicion->accuser, worker.suspicion->message)}});
  } else {
    worker.lease_ends = std::min(worker.lease_ends, now.steady + options_.closed_stream_wait);
    turn.worker_events.emplace_back(identity.worker_id(),
                                    fmt::format("the stream of '{}' closed", identity.worker_id()));
  }
  return Finish(std::move(turn));
}

Effects Engine::OnTick(const Moment& now) {
  Turn turn{.now = now};
  LoseWorkers(turn, ExpiredWorkers(state_, now.steady));
  for (auto& [id, worker] : state_.workers) {
    if (worker.lost || !worker.suspicion || now.steady < worker.suspicion->decide_at) continue;
    const Team* team = TeamOf(state_, worker.identity);
    if (team == nullptr) {
      worker.suspicion.reset();
      continue;
    }
    const SuspicionDecision decision = DecideSuspicion(options_, worker, *team);
    const std::string team_id = team->roster.team_id();
    if (decision.kind == SuspicionDecision::Kind::kLease)
      continue;  // the suspicion stays: a closed stream ends it
    worker.suspicion.reset();
    if (decision.kind == SuspicionDecision::Kind::kRebuild) {
      ++state_.teams.at(team_id).rebuilds_without_commit;
      ChangeRoster(turn, team_id, {}, {}, decision.reason);
    } else {
      state_.teams.at(team_id).barred.insert(IncarnationOf(worker.identity));
      ChangeRoster(turn, team_id, {id}, {}, decision.reason);
    }
  }
  EndHangs(turn);
  turn.place = true;
  return Finish(std::move(turn));
}

void Engine::EndHangs(Turn& turn) {
  for (const HangDecision& decision : DecideHangs(options_, state_)) {
    for (const std::string& id : decision.hung) {
      Worker& worker = state_.workers.at(id);
      worker.hung = decision.reason;
      // Once may have been a file server. One that hangs whenever it is asked would hold up the
      // team again and again.
      if (++worker.hangs > 1)
        state_.teams.at(decision.team_id).barred.insert(IncarnationOf(worker.identity));
      turn.worker_events.emplace_back(id, fmt::format("'{}' is hung: {}", id, decision.reason));
    }
    // What they said counts for the roster they said it under.
    for (const auto& member : state_.teams.at(decision.team_id).roster.members()) {
      state_.workers.at(member.worker().worker_id()).still_since = turn.now.steady;
    }
    ChangeRoster(turn, decision.team_id, {decision.hung.begin(), decision.hung.end()}, {},
                 decision.reason);
  }
}

Effects Engine::OnShutdown(const std::string& reason) {
  Effects effects;
  for (const auto& [link, identity] : links_) {
    Outgoing out{.link = link, .close = true};
    out.message.mutable_shutdown()->set_reason(reason);
    effects.messages.push_back(std::move(out));
  }
  return effects;
}

void Engine::Write(Turn& turn, v1::JournalRecord record) {
  const int64_t nanos = absl::ToUnixNanos(turn.now.wall);
  record.mutable_time()->set_seconds(nanos / 1'000'000'000);
  record.mutable_time()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  if (absl::Status status = Apply(record, state_); !status.ok()) turn.effects.fatal.Update(status);
  turn.effects.batch.records.push_back(std::move(record));
}

void Engine::Send(Turn& turn, LinkId link, v1::CoordinatorMessage message, bool close) {
  if (link == 0) return;
  turn.effects.messages.push_back({link, std::move(message), close});
}

Effects Engine::Finish(Turn turn) {
  if (turn.place) PlaceNow(turn);
  const auto add = [&](Event event, const std::string& message) {
    const int64_t nanos = absl::ToUnixNanos(turn.now.wall);
    event.event.mutable_time()->set_seconds(nanos / 1'000'000'000);
    event.event.mutable_time()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    event.event.set_message(message);
    turn.effects.events.push_back(std::move(event));
  };
  for (const auto& [id, message] : turn.worker_events) {
    const auto worker = state_.workers.find(id);
    if (worker == state_.workers.end()) continue;
    Event event;
    *event.event.mutable_worker() = InfoOf(state_, worker->second, turn.now.steady);
    event.run_id = event.event.worker().run_id();
    add(std::move(event), message);
  }
  for (const auto& [id, message] : turn.roster_events) {
    const auto team = state_.teams.find(id);
    if (team == state_.teams.end()) continue;
    Event event;
    *event.event.mutable_roster() = team->second.roster;
    if (!team->second.run_ids.empty()) event.run_id = team->second.run_ids.front();
    add(std::move(event), message);
  }
  for (const std::string& id : turn.step_events) {
    if (turn.run_events.count(id) == 0) turn.run_events[id] = "";
  }
  for (const auto& [id, message] : turn.run_events) {
    const Run& run = state_.runs.at(id);
    Event event;
    event.run_id = id;
    event.steps_only = message.empty();
    *event.event.mutable_run() = InfoOf(state_, run, turn.now.steady);
    add(std::move(event), message.empty() ? fmt::format("run '{}' committed step {} of {}", id,
                                                        run.committed(), run.total())
                                          : message);
  }
  return std::move(turn.effects);
}

void Engine::MoveRun(Turn& turn, const std::string& run_id, RunEvent event,
                     const std::string& reason, const v1::RunFailure* failure) {
  const auto arrow = Transition(state_.runs.at(run_id).state, event);
  if (!arrow.ok()) {
    turn.effects.fatal.Update(arrow.status());
    return;
  }
  if (!arrow->changes) return;
  v1::JournalRecord record;
  v1::RunStateChanged& change = *record.mutable_run_state_changed();
  change.set_run_id(run_id);
  change.set_state(arrow->to);
  change.set_reason(reason);
  if (failure != nullptr) *change.mutable_failure() = *failure;
  Write(turn, std::move(record));
  Run& run = state_.runs.at(run_id);
  run.waiting.clear();
  if (!run.in_team) run.rate_window.clear();
  turn.run_events[run_id] = fmt::format("run '{}' is {}: {}", run_id, StateName(arrow->to), reason);
  if (arrow->to == v1::RUN_STATE_QUEUED) turn.place = true;
}

void Engine::LoseWorkers(Turn& turn, const std::vector<Loss>& losses) {
  // team -> gone, reason
  std::map<std::string, std::pair<std::set<std::string>, std::string>> by_team;
  for (const Loss& loss : losses) {
    Worker& worker = state_.workers.at(loss.worker_id);
    if (worker.lost) continue;
    worker.lost = true;
    worker.reason = loss.reason;
    worker.suspicion.reset();
    const std::string message = fmt::format("lost '{}': {}", loss.worker_id, loss.reason);
    turn.worker_events.emplace_back(loss.worker_id, message);
    if (worker.link != 0) {
      Refuse(
          turn, worker.link, v1::Refused::CODE_STALE_INCARNATION,
          fmt::format(
              "worker {} was lost ({}): register with a new incarnation; the model may stay loaded",
              WorkerName(worker.identity), loss.reason),
          true);
    }
    const Team* team = TeamOf(state_, worker.identity);
    if (team == nullptr) continue;
    auto& [gone, reason] = by_team[team->roster.team_id()];
    gone.insert(loss.worker_id);
    reason += (reason.empty() ? "" : "; ") + message;
  }
  for (const auto& [team_id, loss] : by_team)
    ChangeRoster(turn, team_id, loss.first, {}, loss.second);
  if (!losses.empty()) turn.place = true;
}

void Engine::ChangeRoster(Turn& turn, const std::string& team_id, const std::set<std::string>& gone,
                          const std::vector<std::string>& newcomers, const std::string& reason) {
  const Team& team = state_.teams.at(team_id);
  const std::vector<std::string> active = ActiveRuns(state_, team);
  if (active.empty()) {
    DisbandIfDone(turn, team_id);
    return;
  }
  std::vector<v1::RosterMember> joining;
  for (const std::string& id : newcomers) joining.push_back(MemberOf(state_.workers.at(id)));
  v1::JournalRecord record;
  v1::RosterFormed& formed = *record.mutable_roster_formed();
  *formed.mutable_roster() = NextRoster(team.roster, gone, joining, reason);
  if (formed.roster().members().empty()) {
    for (const std::string& run : active) MoveRun(turn, run, RunEvent::kNoMemberLeft, reason);
    Disband(turn, team_id, reason);
    return;
  }
  for (const std::string& run : active) formed.add_run_ids(run);
  *formed.mutable_profile() = team.profile;
  std::vector<LinkId> dismissed;
  for (const std::string& id : gone) {
    const Worker& worker = state_.workers.at(id);
    if (!worker.lost && worker.link != 0) dismissed.push_back(worker.link);
  }
  Write(turn, std::move(record));
  for (const LinkId link : dismissed) {
    v1::CoordinatorMessage idle;
    *idle.mutable_assignment() = IdleAssignment();
    Send(turn, link, std::move(idle));
  }
  for (const auto& member : team.roster.members()) {
    // A doubt was about a link of the old roster.
    state_.workers.at(member.worker().worker_id()).suspicion.reset();
  }
  turn.roster_events.emplace_back(
      team_id, fmt::format("team '{}' has roster version {} with {} members: {}", team_id,
                           team.roster.version(), team.roster.members_size(), team.roster.reason()));
  SendAssignment(turn, team);
}

void Engine::Disband(Turn& turn, const std::string& team_id, const std::string& reason) {
  const std::vector<LinkId> links = LinksOf(state_.teams.at(team_id));
  const v1::Roster roster = state_.teams.at(team_id).roster;
  v1::JournalRecord record;
  record.mutable_team_disbanded()->set_team_id(team_id);
  record.mutable_team_disbanded()->set_reason(reason);
  Write(turn, std::move(record));
  for (const LinkId link : links) {
    v1::CoordinatorMessage idle;
    *idle.mutable_assignment() = IdleAssignment();
    Send(turn, link, std::move(idle));
  }
  for (const auto& member : roster.members()) {
    const auto worker = state_.workers.find(member.worker().worker_id());
    if (worker == state_.workers.end() || !SameIdentity(worker->second.identity, member.worker()))
      continue;
    if (worker->second.lost) continue;
    worker->second.suspicion.reset();
    turn.worker_events.emplace_back(worker->first,
                                    fmt::format("'{}' is idle: {}", worker->first, reason));
  }
  turn.place = true;
}

void Engine::DisbandIfDone(Turn& turn, const std::string& team_id) {
  const auto team = state_.teams.find(team_id);
  if (team == state_.teams.end() || !ActiveRuns(state_, team->second).empty()) return;
  for (const auto& member : team->second.roster.members()) {
    const std::string& id = member.worker().worker_id();
    const auto worker = state_.workers.find(id);
    const bool gone = worker == state_.workers.end() || worker->second.lost ||
                      !SameIdentity(worker->second.identity, member.worker());
    if (!gone && team->second.done.count(id) == 0) return;
  }
  Disband(turn, team_id, fmt::format("every run of team '{}' has left it", team_id));
}

std::vector<LinkId> Engine::LinksOf(const Team& team) const {
  std::vector<LinkId> links;
  for (const auto& member : team.roster.members()) {
    const auto worker = state_.workers.find(member.worker().worker_id());
    if (worker != state_.workers.end() && worker->second.link != 0 && !worker->second.lost &&
        SameIdentity(worker->second.identity, member.worker())) {
      links.push_back(worker->second.link);
    }
  }
  return links;
}

void Engine::SendAssignment(Turn& turn, const Team& team) {
  const v1::Assignment assignment = AssignmentOf(state_, team);
  for (const LinkId link : LinksOf(team)) {
    v1::CoordinatorMessage message;
    *message.mutable_assignment() = assignment;
    Send(turn, link, std::move(message));
    SendControls(turn, team, link);
  }
}

void Engine::SendControls(Turn& turn, const Team& team, LinkId link) {
  for (const std::string& id : ActiveRuns(state_, team)) {
    const v1::RunState state = state_.runs.at(id).state;
    if (state == v1::RUN_STATE_PAUSING)
      SendControl(turn, team, id, v1::ControlRequest::ACTION_PAUSE, link);
    if (state == v1::RUN_STATE_STOPPING)
      SendControl(turn, team, id, v1::ControlRequest::ACTION_STOP, link);
  }
}

void Engine::SendControl(Turn& turn, const Team& team, const std::string& run_id,
                         v1::ControlRequest::Action action, LinkId only_link) {
  v1::CoordinatorMessage message;
  message.mutable_control()->set_team_id(team.roster.team_id());
  message.mutable_control()->set_run_id(run_id);
  message.mutable_control()->set_action(action);
  if (only_link != 0) {
    Send(turn, only_link, message);
    return;
  }
  for (const LinkId link : LinksOf(team)) Send(turn, link, message);
}

void Engine::PlaceNow(Turn& turn) {
  turn.place = false;
  const PlacementDecision decision = Place(options_, state_, turn.now.steady);
  for (const Waiting& waiting : decision.waiting) {
    Run& run = state_.runs.at(waiting.run_id);
    if (run.waiting == waiting.reason) continue;
    run.waiting = waiting.reason;
    turn.run_events.try_emplace(run.id,
                                fmt::format("run '{}' is queued: {}", run.id, waiting.reason));
  }
  for (const Placement& placement : decision.teams) {
    const std::string team_id = fmt::format("team-{}", state_.next_team);
    for (const std::string& run_id : placement.run_ids) {
      if (state_.runs.at(run_id).profile) continue;
      v1::JournalRecord record;
      record.mutable_profile_resolved()->set_run_id(run_id);
      *record.mutable_profile_resolved()->mutable_profile() = placement.profile;
      Write(turn, std::move(record));
    }
    std::vector<v1::RosterMember> members;
    for (const std::string& id : placement.worker_ids)
      members.push_back(MemberOf(state_.workers.at(id)));
    v1::JournalRecord record;
    *record.mutable_roster_formed()->mutable_roster() =
        FirstRoster(team_id, members, placement.reason);
    *record.mutable_roster_formed()->mutable_profile() = placement.profile;
    for (const std::string& run_id : placement.run_ids)
      record.mutable_roster_formed()->add_run_ids(run_id);
    Write(turn, std::move(record));
    for (const std::string& run_id : placement.run_ids) {
      MoveRun(turn, run_id, RunEvent::kPlaced, fmt::format("{} ({})", placement.reason, team_id));
    }
    const Team& team = state_.teams.at(team_id);
    turn.roster_events.emplace_back(
        team_id, fmt::format("team '{}' was formed: {}", team_id, team.roster.reason()));
    SendAssignment(turn, team);
  }
  for (const Growth& growth : decision.growths) {
    ChangeRoster(turn, growth.team_id, {}, growth.worker_ids, growth.reason);
  }
}

}  // namespace neolog::coordinator
