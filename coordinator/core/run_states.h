#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"
#include "neolog/v1/run.pb.h"

namespace neolog::coordinator {

// The arrows are drawn and numbered in README.md. In short:
//
//   QUEUED ⇄ RUNNING → COMPLETED | FAILED
//   RUNNING → PAUSING → PAUSED,  RUNNING | PAUSING → STOPPING → STOPPED
//   QUEUED → PAUSED | STOPPED,  PAUSED → STOPPED,  PAUSED | STOPPED | FAILED → QUEUED

/// What may happen to a run.
enum class RunEvent {
  kPlaced,        ///< a team was formed for it
  kNoMemberLeft,  ///< its team's last member was lost
  kLastStep,      ///< its last step is committed
  kPauseAsked,    ///< by a user
  kStopAsked,     ///< by a user
  kResumeAsked,   ///< by a user
  kLeft,          ///< it left its pack, as asked, and all its steps are committed
  kFailed,        ///< it cannot go on
};

/// Where an event leads.
struct Arrow {
  v1::RunState to = v1::RUN_STATE_UNSPECIFIED;
  /// False: the event was expected and changes nothing (a repeated request).
  bool changes = false;
};

/// The state that `event` leads to. FailedPrecondition when a user asks for what the state does not
/// allow (the message says why, and what is possible instead); Internal for other events that
/// cannot happen in this state.
absl::StatusOr<Arrow> Transition(v1::RunState from, RunEvent event);

/// Whether some event leads from one state to the other.
bool IsArrow(v1::RunState from, v1::RunState to);

/// RUNNING, PAUSING or STOPPING: a team trains it.
bool IsHeldByTeam(v1::RunState state);

/// STOPPED, COMPLETED or FAILED.
bool IsEnd(v1::RunState state);

/// "queued", "running" and so on, as people read it.
std::string_view StateName(v1::RunState state);

}  // namespace neolog::coordinator
