#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/status.h"

/// Child processes through posix_spawn. Nothing here forks: OpenMP and gRPC do not survive it.
namespace neolog {

/// Where one of a child's output streams goes.
struct OutputTo {
  enum class Kind { kInherit, kNull, kFile, kPipe };
  Kind kind = Kind::kInherit;
  /// For kFile: opened for appending, created with mode 0600.
  std::string path;

  static OutputTo Inherit() { return {}; }
  static OutputTo Null() { return {Kind::kNull, ""}; }
  static OutputTo File(std::string path) { return {Kind::kFile, std::move(path)}; }
  static OutputTo Pipe() { return {Kind::kPipe, ""}; }
};

/// What to start, and how.
struct SpawnOptions {
  /// The program and its arguments. A program without '/' is looked up in PATH.
  std::vector<std::string> argv;
  /// Added to the parent's environment, or replacing what stands there.
  std::vector<std::pair<std::string, std::string>> env;
  /// Names taken out of it.
  std::vector<std::string> unset_env;
  /// The child's working directory; empty: the parent's.
  std::string cwd;
  OutputTo stdout_to;
  OutputTo stderr_to;
  /// Standard input is /dev/null unless this is set, then a file read from its start.
  std::string stdin_file;
  /// A session of its own: a hang-up or Ctrl-C of the parent's terminal does not reach the child.
  bool new_session = false;
  /// A process group of its own: a Ctrl-C of the terminal does not reach the child.
  bool new_process_group = false;
};

/// How a process ended.
struct ExitStatus {
  /// The exit code; meaningful when `signal` is 0.
  int code = 0;
  /// The signal that ended it, or 0.
  int signal = 0;

  bool success() const { return code == 0 && signal == 0; }
  /// "exit code 3" or "signal SIGKILL".
  std::string ToString() const;
};

/// "SIGKILL" for 9, and so on; "signal 77" for numbers without a name.
std::string SignalName(int signal);

/// One child process. Not for use from several threads at once. The child inherits no other
/// descriptor than its three streams, an empty signal mask and default signal actions.
class Subprocess {
 public:
  /// NotFound when the program does not exist; PermissionDenied when it cannot be executed;
  /// InvalidArgument without argv; the error of the system otherwise. The message names the
  /// program.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Spawn(const SpawnOptions& options);

  /// Kills (SIGKILL) and reaps a child that still runs, unless Release was called.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }

  /// A descriptor that becomes readable when the child ends (a pidfd). Owned by this.
  int exit_fd() const { return pidfd_; }

  /// How the child ended, when it has; reaps it. Stays the same afterwards.
  std::optional<ExitStatus> Poll();

  /// Waits for the child's end. DeadlineExceeded when it still runs after `timeout`.
  absl::StatusOr<ExitStatus> Wait(absl::Duration timeout = absl::InfiniteDuration());

  /// Sends a signal to the child. OK also when it has ended already.
  absl::Status Signal(int signal);

  /// SIGTERM, up to `grace` to leave, then SIGKILL; reaps.
  absl::StatusOr<ExitStatus> Terminate(absl::Duration grace);

  /// What the child writes to its piped streams, until both are closed. Call before Wait when a
  /// stream is a pipe, or a child that fills the pipe waits forever. DeadlineExceeded when a stream
  /// is still open after `timeout`.
  struct Output {
    std::string out;
    std::string err;
  };
  absl::StatusOr<Output> ReadOutput(absl::Duration timeout = absl::InfiniteDuration());

  /// Lets the child live on when this object goes.
  void Release() { released_ = true; }

 private:
  Subprocess() = default;

  pid_t pid_ = -1;
  int pidfd_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  bool released_ = false;
  std::optional<ExitStatus> exit_;
};

/// Runs a program to its end and returns what it wrote. DeadlineExceeded (and the child is killed)
/// after `timeout`.
struct CommandResult {
  ExitStatus exit;
  std::string out;
  std::string err;
};
absl::StatusOr<CommandResult> RunCommand(SpawnOptions options, absl::Duration timeout);

}  // namespace neolog
