#include "coordinator/core/run_states.h"

#include <fmt/format.h>

namespace neolog::coordinator {
namespace {

Arrow To(v1::RunState state) { return {state, true}; }

absl::Status Refuse(std::string_view verb, v1::RunState state, std::string_view hint) {
  return FailedPrecondition(
      fmt::format("cannot {} a run that is {}: {}", verb, StateName(state), hint));
}

absl::StatusOr<Arrow> OnPause(v1::RunState from) {
  switch (from) {
    case v1::RUN_STATE_QUEUED: return To(v1::RUN_STATE_PAUSED);
    case v1::RUN_STATE_RUNNING: return To(v1::RUN_STATE_PAUSING);
    case v1::RUN_STATE_PAUSING:
    case v1::RUN_STATE_PAUSED: return Arrow{from, false};
    default: return Refuse("pause", from, "it does not train any more");
  }
}

absl::StatusOr<Arrow> OnStop(v1::RunState from) {
  switch (from) {
    case v1::RUN_STATE_QUEUED:
    case v1::RUN_STATE_PAUSED: return To(v1::RUN_STATE_STOPPED);
    case v1::RUN_STATE_RUNNING:
    case v1::RUN_STATE_PAUSING: return To(v1::RUN_STATE_STOPPING);
    case v1::RUN_STATE_STOPPING:
    case v1::RUN_STATE_STOPPED: return Arrow{from, false};
    default: return Refuse("stop", from, "it has ended");
  }
}

absl::StatusOr<Arrow> OnResume(v1::RunState from) {
  switch (from) {
    case v1::RUN_STATE_PAUSED:
    case v1::RUN_STATE_STOPPED:
    case v1::RUN_STATE_FAILED: return To(v1::RUN_STATE_QUEUED);
    case v1::RUN_STATE_QUEUED:
    case v1::RUN_STATE_RUNNING: return Arrow{from, false};
    case v1::RUN_STATE_PAUSING:
    case v1::RUN_STATE_STOPPING:
      return Refuse("resume", from,
                    "its team has not reached the step boundary yet; try again in a moment");
    default:
      return Refuse("resume", from, "every step is taken; submit a new run to train further");
  }
}

}  // namespace

absl::StatusOr<Arrow> Transition(v1::RunState from, RunEvent event) {
  const auto impossible = [&](std::string_view what) {
    return Internal(fmt::format("a run that is {} was {}", StateName(from), what));
  };
  switch (event) {
    case RunEvent::kPauseAsked: return OnPause(from);
    case RunEvent::kStopAsked: return OnStop(from);
    case RunEvent::kResumeAsked: return OnResume(from);
    case RunEvent::kPlaced:
      if (from == v1::RUN_STATE_QUEUED) return To(v1::RUN_STATE_RUNNING);
      return impossible("placed");
    case RunEvent::kNoMemberLeft:
      if (from == v1::RUN_STATE_RUNNING) return To(v1::RUN_STATE_QUEUED);
      if (from == v1::RUN_STATE_PAUSING) return To(v1::RUN_STATE_PAUSED);
      if (from == v1::RUN_STATE_STOPPING) return To(v1::RUN_STATE_STOPPED);
      return impossible("left by its last worker");
    case RunEvent::kLeft:
      if (from == v1::RUN_STATE_PAUSING) return To(v1::RUN_STATE_PAUSED);
      if (from == v1::RUN_STATE_STOPPING) return To(v1::RUN_STATE_STOPPED);
      return impossible("taken out of its pack");
    case RunEvent::kLastStep:
      if (IsHeldByTeam(from)) return To(v1::RUN_STATE_COMPLETED);
      return impossible("completed");
    case RunEvent::kFailed:
      if (IsHeldByTeam(from)) return To(v1::RUN_STATE_FAILED);
      return impossible("failed");
  }
  return impossible("touched by an unknown event");
}

bool IsArrow(v1::RunState from, v1::RunState to) {
  for (const RunEvent event :
       {RunEvent::kPlaced, RunEvent::kNoMemberLeft, RunEvent::kLastStep, RunEvent::kPauseAsked,
        RunEvent::kStopAsked, RunEvent::kResumeAsked, RunEvent::kLeft, RunEvent::kFailed}) {
    const auto arrow = Transition(from, event);
    if (arrow.ok() && arrow->changes && arrow->to == to) return true;
  }
  return false;
}

bool IsHeldByTeam(v1::RunState state) {
  return state == v1::RUN_STATE_RUNNING || state == v1::RUN_STATE_PAUSING ||
         state == v1::RUN_STATE_STOPPING;
}

bool IsEnd(v1::RunState state) {
  return state == v1::RUN_STATE_STOPPED || state == v1::RUN_STATE_COMPLETED ||
         state == v1::RUN_STATE_FAILED;
}

std::string_view StateName(v1::RunState state) {
  switch (state) {
    case v1::RUN_STATE_QUEUED: return "queued";
    case v1::RUN_STATE_RUNNING: return "running";
    case v1::RUN_STATE_PAUSING: return "pausing";
    case v1::RUN_STATE_PAUSED: return "paused";
    case v1::RUN_STATE_STOPPING: return "stopping";
    case v1::RUN_STATE_STOPPED: return "stopped";
    case v1::RUN_STATE_COMPLETED: return "completed";
    case v1::RUN_STATE_FAILED: return "failed";
    default: return "in an unknown state";
  }
}

}  // namespace neolog::coordinator
