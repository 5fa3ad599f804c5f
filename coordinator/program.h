#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/status.h"

namespace neolog::coordinator {

/// What the command line of neolog-coordinator says.
struct ProgramOptions {
  /// Where journal, blobs and the lock are; made with mode 0700.
  std::string state_dir;
  /// gRPC targets; empty: unix:<state_dir>/coordinator.sock.
  std::vector<std::string> listen;
  std::string log_level = "info";
  bool log_json = false;
  absl::Duration lease = absl::Seconds(1);
  absl::Duration heartbeat_interval = absl::Milliseconds(250);
};

/// What parsing gives: options, or what to print and the exit code (0 for --help and --version, 2
/// for bad usage).
struct ParsedCommandLine {
  ProgramOptions options;
  bool run = false;
  int exit_code = 0;
  std::string print;
};
ParsedCommandLine ParseCommandLine(int argc, char** argv);

/// Runs a coordinator until SIGTERM, SIGINT or a Shutdown request, then ends in order: workers are
/// told to leave, calls end, the journal is written and closed. It may be killed at any moment as
/// well. Errors: another coordinator has the state directory (AlreadyExists, with its process id),
/// addresses that cannot be listened on, a damaged journal.
absl::Status RunCoordinator(const ProgramOptions& options);

}  // namespace neolog::coordinator
