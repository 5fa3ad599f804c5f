#pragma once

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/process.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/console.h"
#include "coordinator/cli/exit_code.h"

namespace neolog::cli {

/// What is wrong with the local cluster.
struct Trouble {
  /// Whom it concerns; said again only when this changes.
  std::string who;
  /// In words, for people; empty when nothing is wrong.
  std::string text;
  /// Whether waiting longer is pointless.
  bool hopeless = false;
};

/// How a run is followed.
struct FollowOptions {
  std::string run_id;
  /// The command that follows the run again, for the message after a detach.
  std::string reattach_command;
  /// The command that stops it.
  std::string stop_command;
  /// Give up, with exit code 3, when the coordinator was out of reach for this long.
  absl::Duration unreachable_limit = absl::Minutes(2);
  /// Asked now and then while the run does not step; may be empty.
  std::function<Trouble()> trouble;
};

/// How following ended.
struct FollowResult {
  ExitCode code = kExitOk;
  /// The run as last seen.
  v1::RunInfo run;
  /// True when the run goes on without us.
  bool detached = false;
};

/// Follows a run until it is at rest or until a signal detaches (see DetachLogic): draws a progress
/// line on a terminal, else prints a line at every tenth and every 10 s; says what happens to the
/// team; survives restarts of the coordinator. `signals` delivers SIGINT, SIGTERM and SIGHUP.
/// Nothing is stopped without a yes.
FollowResult FollowRun(Client& client, Console& console, SignalPipe& signals, const Clock& clock,
                       const FollowOptions& options);

}  // namespace neolog::cli
