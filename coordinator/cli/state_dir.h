#pragma once

#include <string>

#include "common/base/status.h"
#include "coordinator/cli/console.h"

namespace neolog::cli {

/// Where a user's local cluster keeps its files. This struct owns every name in it except the
/// coordinator's own files.
///
///   supervisor.lock    held by the supervisor while it lives
///   supervisor.sock    where it is told what to do (supervisor_protocol.h)
///   children.json      its children, so that a supervisor that was killed does not leave strays
///   coordinator.sock   the gRPC socket
///   coordinator/       the coordinator's state: journal and blobs
///   workers/<id>/      each worker's state
///   logs/<name>.log    what supervisor, coordinator and workers say
///   fingerprints.json  SHA-256 of model files by path, size and time; shared with the workers
struct StateDir {
  std::string root;

  std::string SupervisorLock() const { return root + "/supervisor.lock"; }
  std::string SupervisorSocket() const { return root + "/supervisor.sock"; }
  std::string Children() const { return root + "/children.json"; }
  std::string CoordinatorSocket() const { return root + "/coordinator.sock"; }
  /// The socket as a gRPC target.
  std::string CoordinatorTarget() const { return "unix:" + CoordinatorSocket(); }
  std::string CoordinatorState() const { return root + "/coordinator"; }
  std::string WorkerState(const std::string& id) const { return root + "/workers/" + id; }
  std::string LogFolder() const { return root + "/logs"; }
  std::string Log(const std::string& name) const { return LogFolder() + "/" + name + ".log"; }
  std::string Fingerprints() const { return root + "/fingerprints.json"; }
};

/// NEOLOG_STATE_DIR, else $XDG_STATE_HOME/neolog, else ~/.local/state/neolog, as an absolute path;
/// nothing is created. InvalidArgument when none of them is set, or when the path is too long for a
/// Unix socket.
absl::StatusOr<StateDir> ResolveStateDir(const GetEnv& env);

/// Creates the folder (mode 0700) and its subfolders. PermissionDenied when it belongs to another
/// user or when others may enter it: the socket in it is the only lock on the cluster.
absl::Status PrepareStateDir(const StateDir& dir);

/// The check of PrepareStateDir alone; OK when the folder does not exist yet.
absl::Status CheckStateDir(const StateDir& dir);

}  // namespace neolog::cli
