#pragma once

#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/base/process.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/console.h"
#include "coordinator/cli/exit_code.h"
#include "coordinator/cli/local_cluster.h"

namespace neolog::cli {

/// What every command works with. The pointers are never null and outlive the command.
struct Context {
  Console* console = nullptr;
  const Clock* clock = nullptr;
  GetEnv env;
  /// The path of the running program.
  std::string self_path;
  /// --coordinator, else NEOLOG_COORDINATOR; empty: the local cluster.
  std::string coordinator;

  bool local() const { return coordinator.empty(); }
};

/// Prints the error and gives the exit code it stands for.
ExitCode Fail(Context& context, const absl::Status& status);

/// Prints the error, but exits as `code`.
ExitCode Fail(Context& context, const absl::Status& status, ExitCode code);

/// A client and, where the coordinator is the local one, the cluster it belongs to, kept attached.
struct Session {
  std::unique_ptr<LocalCluster> cluster;
  std::unique_ptr<Client> client;
};

/// Connects to the coordinator that the context names, or to the local cluster if one runs, and
/// checks its version. Unavailable when there is none, with what to do.
absl::StatusOr<Session> ConnectExisting(Context& context);

/// The same, but starts a local cluster on demand when none runs. Workers are not started: see
/// LocalCluster::Ensure.
absl::StatusOr<Session> ConnectOrStart(Context& context, bool on_demand);

/// The run that a user means: by id, by name, or the newest one when `run` is empty. NotFound with
/// the nearest name.
absl::StatusOr<v1::RunInfo> FindRun(Client& client, const std::string& run);

/// Follows a run with the signals of the process, as train, logs -f and resume do.
ExitCode FollowToTheEnd(Context& context, Session& session, const v1::RunInfo& run,
                        SignalPipe& signals);

/// After a run came to rest: what became of it, where its files are and what to type next. To the
/// error stream, but the paths of the embedding files to standard output, one a line.
void PrintOutcome(Context& context, const v1::RunInfo& run);

}  // namespace neolog::cli
