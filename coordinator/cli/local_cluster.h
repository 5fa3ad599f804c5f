#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "coordinator/cli/client.h"
#include "coordinator/cli/console.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/state_dir.h"
#include "coordinator/cli/supervisor_protocol.h"

namespace neolog::cli {

/// The three programs that belong together lie in one folder.
struct Programs {
  std::string neolog;
  std::string coordinator;
  std::string worker;
};

/// The programs beside the running one. NotFound names each that is missing and where it was looked
/// for.
absl::StatusOr<Programs> FindPrograms(const std::string& self_path);

/// A connection to the user's local cluster. While it lives its process counts as attached, and a
/// cluster that was started on demand stays.
class LocalCluster {
 public:
  /// Connects to a cluster that runs. NotFound when none does; FailedPrecondition when it is of
  /// another version.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Connect(const StateDir& dir);

  /// Connects, and starts a supervisor with a coordinator when none runs. `on_demand`: a cluster
  /// started here leaves by itself when no run and no client is left. Two processes that do this at
  /// once get the same cluster.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> ConnectOrStart(const StateDir& dir,
                                                                      const Programs& programs,
                                                                      bool on_demand,
                                                                      Console& console);

  /// Whether this call started it.
  bool started_here() const { return started_here_; }
  /// The coordinator's gRPC target.
  const std::string& target() const { return target_; }

  /// At least one worker with `threads` threads for each of `devices`, which may be named several
  /// times.
  absl::StatusOr<SupervisorReply> Ensure(const std::vector<std::string>& devices, uint32_t threads);
  /// Waits until the coordinator listens on its socket, so that no gRPC channel meets a closed door
  /// and backs off for a second. False when it does not within `timeout`.
  bool WaitForListener(absl::Duration timeout);
  /// Stay until told to leave.
  absl::Status Keep();
  absl::StatusOr<SupervisorReply> Info();
  /// Stops everything and waits until it is gone.
  absl::Status Down(absl::Duration timeout);

 private:
  LocalCluster(StateDir dir, std::unique_ptr<SupervisorConnection> connection, std::string target)
      : dir_(std::move(dir)), connection_(std::move(connection)), target_(std::move(target)) {}

  StateDir dir_;
  std::unique_ptr<SupervisorConnection> connection_;
  std::string target_;
  bool started_here_ = false;
};

/// What a user should know about children that keep dying: how they ended and the last lines of
/// their logs. Hopeless when the coordinator, or every worker, died six times without staying up.
Trouble TroubleOf(const SupervisorReply& info);

/// The last `lines` lines of a file, at most 64 KiB of it; empty when it cannot be read.
std::string TailOfFile(const std::string& path, int lines);

}  // namespace neolog::cli
