#pragma once

#include "common/base/status.h"
#include "neolog/v1/run.pb.h"

namespace neolog::cli {

/// What `neolog` exits with; scripts and schedulers rely on these numbers.
enum ExitCode : int {
  kExitOk = 0,
  /// Something nobody expected.
  kExitUnexpected = 1,
  /// Wrong usage, or a run file or input that cannot be used.
  kExitUsage = 2,
  /// The coordinator cannot be reached.
  kExitUnreachable = 3,
  /// What was named does not exist, or is in a state that does not allow it.
  kExitWrongState = 4,
  /// The run failed (for example NaN) or was stopped before its end.
  kExitRunFailed = 5,
  /// `wait` gave up.
  kExitTimedOut = 6,
  /// Not allowed.
  kExitPermission = 7,
  /// Interrupted for now and can go on later: the run was paused. Schedulers requeue on it.
  kExitTryAgain = 75,
  /// Ctrl-C.
  kExitInterrupted = 130,
  /// SIGTERM.
  kExitTerminated = 143,
};

/// The exit code that an error of an RPC or a check stands for; kExitOk for OK.
ExitCode ExitCodeOf(const absl::Status& status);

/// The exit code of a command that waited for a run: 0 completed, 5 failed or stopped, 75 paused; 0
/// while it goes on.
ExitCode ExitCodeOf(v1::RunState state);

/// Whether a run in this state moves no more by itself: paused, stopped, completed or failed.
bool IsAtRest(v1::RunState state);

/// Whether a run in this state needs a cluster: queued, running, pausing or stopping.
inline bool IsActive(v1::RunState state) {
  return state != v1::RUN_STATE_UNSPECIFIED && !IsAtRest(state);
}

/// "running", "completed" and so on.
std::string StateName(v1::RunState state);

}  // namespace neolog::cli
