#include <fmt/format.h>

#include "coordinator/core/engine.h"
#include "coordinator/core/status_view.h"
#include "coordinator/core/submission.h"

namespace neolog::coordinator {
namespace {

/// An unfinished run that writes to this folder, or null.
const Run* OwnerOf(const ClusterState& state, const std::string& log_dir,
                   const std::string& except) {
  for (const auto& [id, run] : state.runs) {
    if (run.log_dir == log_dir && id != except && !IsEnd(run.state)) return &run;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<v1::SubmitRunResponse> Engine::Submit(const Moment& now,
                                                     const v1::SubmitRunRequest& request,
                                                     const std::string& log_dir, Effects& effects) {
  v1::SubmitRunResponse response;
  if (const Run* earlier = FindByKey(request.idempotency_key()); earlier != nullptr) {
    *response.mutable_run() = InfoOf(state_, *earlier, now.steady);
    return response;
  }
  RETURN_IF_ERROR(CheckSpec(request.spec()));
  if (const Run* owner = OwnerOf(state_, log_dir, ""); owner != nullptr) {
    return AlreadyExists(fmt::format(
        "checkpoint.log_dir: '{}' belongs to run '{}', which is {}: give this run another "
        "name or log_dir",
        log_dir, owner->id, StateName(owner->state)));
  }
  const std::string id = MakeRunId(state_, request.spec().name(), random_());
  if (request.dry_run()) {
    Run run;
    run.id = id;
    run.spec = request.spec();
    run.log_dir = log_dir;
    run.submitted_at = now.wall;
    run.reason = "would be accepted";
    *response.mutable_run() = InfoOf(state_, run, now.steady);
    return response;
  }
  Turn turn{.now = now};
  v1::JournalRecord record;
  v1::RunSubmitted& submitted = *record.mutable_run_submitted();
  submitted.set_run_id(id);
  *submitted.mutable_spec() = request.spec();
  submitted.set_idempotency_key(request.idempotency_key());
  submitted.set_log_dir(log_dir);
  Write(turn, std::move(record));
  turn.run_events[id] = fmt::format("run '{}' is queued: submitted", id);
  turn.place = true;
  effects = Finish(std::move(turn));
  *response.mutable_run() = InfoOf(state_, state_.runs.at(id), now.steady);
  return response;
}

absl::StatusOr<std::string> Engine::Ask(Turn& turn, const std::string& id_or_name, RunEvent event,
                                        const std::string& reason) {
  ASSIGN_OR_RETURN(std::string id, ResolveRunId(state_, id_or_name));
  ASSIGN_OR_RETURN_WITH(const Arrow arrow, Transition(state_.runs.at(id).state, event),
                        fmt::format("run '{}'", id));
  if (!arrow.changes) return id;
  MoveRun(turn, id, event, reason);
  const Run& run = state_.runs.at(id);
  const auto team = state_.teams.find(run.team_id);
  if (run.in_team && team != state_.teams.end()) {
    const auto action = run.state == v1::RUN_STATE_PAUSING ? v1::ControlRequest::ACTION_PAUSE
                                                           : v1::ControlRequest::ACTION_STOP;
    SendControl(turn, team->second, id, action, 0);
  }
  return id;
}

absl::StatusOr<v1::StopRunResponse> Engine::Stop(const Moment& now,
                                                 const v1::StopRunRequest& request,
                                                 Effects& effects) {
  Turn turn{.now = now};
  ASSIGN_OR_RETURN(const std::string id,
                   Ask(turn, request.run_id(), RunEvent::kStopAsked, "asked to stop"));
  effects = Finish(std::move(turn));
  v1::StopRunResponse response;
  *response.mutable_run() = InfoOf(state_, state_.runs.at(id), now.steady);
  return response;
}

absl::StatusOr<v1::PauseRunResponse> Engine::Pause(const Moment& now,
                                                   const v1::PauseRunRequest& request,
                                                   Effects& effects) {
  Turn turn{.now = now};
  ASSIGN_OR_RETURN(const std::string id,
                   Ask(turn, request.run_id(), RunEvent::kPauseAsked, "asked to pause"));
  effects = Finish(std::move(turn));
  v1::PauseRunResponse response;
  *response.mutable_run() = InfoOf(state_, state_.runs.at(id), now.steady);
  return response;
}

absl::StatusOr<v1::ResumeRunResponse> Engine::Resume(const Moment& now,
                                                     const v1::ResumeRunRequest& request,
                                                     Effects& effects) {
  Turn turn{.now = now};
  ASSIGN_OR_RETURN(const std::string id, ResolveRunId(state_, request.run_id()));
  const Run& run = state_.runs.at(id);
  ASSIGN_OR_RETURN_WITH(const Arrow arrow, Transition(run.state, RunEvent::kResumeAsked),
                        fmt::format("run '{}'", id));
  const bool resize = request.workers() != 0 && request.workers() != run.workers;
  if (run.state == v1::RUN_STATE_RUNNING && resize) {
    return FailedPrecondition(
        fmt::format("run '{}' is running: pause it before changing its number of workers", id));
  }
  if (arrow.changes) {
    if (const Run* owner = OwnerOf(state_, run.log_dir, id); owner != nullptr) {
      return FailedPrecondition(
          fmt::format("run '{}' cannot go on: run '{}', which is {}, writes to its folder '{}' now",
                      id, owner->id, StateName(owner->state), run.log_dir));
    }
  }
  if (arrow.changes || resize) {
    v1::JournalRecord record;
    v1::RunStateChanged& change = *record.mutable_run_state_changed();
    change.set_run_id(id);
    change.set_state(arrow.to);
    change.set_reason(resize ? fmt::format("resumed with {} workers", request.workers())
                             : "resumed");
    change.set_workers(request.workers());
    Write(turn, std::move(record));
    state_.runs.at(id).barred.clear();  // what stood against them may have been mended
    turn.run_events[id] = fmt::format("run '{}' is queued: {}", id, run.reason);
    turn.place = true;
  }
  effects = Finish(std::move(turn));
  v1::ResumeRunResponse response;
  *response.mutable_run() = InfoOf(state_, state_.runs.at(id), now.steady);
  return response;
}

absl::StatusOr<v1::GetRunResponse> Engine::Get(const Moment& now,
                                               const v1::GetRunRequest& request) const {
  ASSIGN_OR_RETURN(const std::string id, ResolveRunId(state_, request.run_id()));
  v1::GetRunResponse response;
  *response.mutable_run() = InfoOf(state_, state_.runs.at(id), now.steady);
  response.set_state(state_.runs.at(id).committed_state);
  return response;
}

v1::ListRunsResponse Engine::List(const Moment& now) const {
  v1::ListRunsResponse response;
  v1::GetStatusResponse status = StatusOf(state_, now.steady);
  response.mutable_runs()->Swap(status.mutable_runs());
  return response;
}

absl::StatusOr<v1::GetStepsResponse> Engine::Steps(const v1::GetStepsRequest& request) const {
  ASSIGN_OR_RETURN(const std::string id, ResolveRunId(state_, request.run_id()));
  const std::vector<CommittedStep>& steps = state_.runs.at(id).steps;
  v1::GetStepsResponse response;
  const uint64_t first = request.first_step() == 0 ? 1 : request.first_step();
  for (uint64_t step = first; step <= steps.size(); ++step) {
    if (request.limit() != 0 && step - first >= request.limit()) break;
    const CommittedStep& known = steps[step - 1];
    v1::StepRecord& record = *response.add_steps();
    record.set_step(step);
    record.set_loss(known.loss);
    record.set_learning_rate(known.learning_rate);
    record.set_gradient_norm(known.gradient_norm);
    record.set_state_hash(known.state_hash);
  }
  return response;
}

v1::GetStatusResponse Engine::Status(const Moment& now) const {
  return StatusOf(state_, now.steady);
}

const Run* Engine::FindByKey(const std::string& idempotency_key) const {
  if (idempotency_key.empty()) return nullptr;
  for (const auto& [id, run] : state_.runs) {
    if (run.idempotency_key == idempotency_key) return &run;
  }
  return nullptr;
}

}  // namespace neolog::coordinator
