#include "common/base/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

extern char** environ;

namespace neolog {
namespace {

using Steady = std::chrono::steady_clock;

absl::Status SystemError(int error, const std::string& what) {
  return absl::ErrnoToStatus(error, ToAbsl(what));
}

/// Milliseconds for poll: at least 1 while time is left, -1 for ever.
int PollTimeout(bool forever, Steady::time_point deadline) {
  if (forever) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Steady::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

Steady::time_point DeadlineAfter(absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) return Steady::time_point::max();
  return Steady::now() + absl::ToChronoNanoseconds(timeout);
}

/// Both descriptors close on exec and lie above the standard three, so that redirections cannot
/// clobber them.
absl::Status MakePipe(int fds[2]) {
  if (pipe2(fds, O_CLOEXEC) != 0) return SystemError(errno, "making a pipe");
  for (int i = 0; i < 2; ++i) {
    if (fds[i] > 2) continue;
    const int moved = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
    close(fds[i]);
    fds[i] = moved;
  }
  return absl::OkStatus();
}

std::vector<std::string> ChildEnvironment(const SpawnOptions& options) {
  std::vector<std::string> result;
  const auto replaced = [&](std::string_view entry) {
    const std::string_view name = entry.substr(0, entry.find('='));
    const auto added = [&](const auto& pair) { return pair.first == name; };
    return std::any_of(options.env.begin(), options.env.end(), added) ||
           std::count(options.unset_env.begin(), options.unset_env.end(), name) > 0;
  };
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (!replaced(*entry)) result.emplace_back(*entry);
  }
  for (const auto& [name, value] : options.env) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// posix_spawn's two attribute objects, freed at the end of the scope.
struct SpawnAttributes {
  SpawnAttributes() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnAttributes() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

void Redirect(posix_spawn_file_actions_t* actions, const OutputTo& to, int stream, int pipe_end) {
  switch (to.kind) {
    case OutputTo::Kind::kInherit: break;
    case OutputTo::Kind::kNull:
      posix_spawn_file_actions_addopen(actions, stream, "/dev/null", O_WRONLY, 0);
      break;
    case OutputTo::Kind::kFile:
      posix_spawn_file_actions_addopen(actions, stream, to.path.c_str(),
                                       O_WRONLY | O_CREAT | O_APPEND, 0600);
      break;
    case OutputTo::Kind::kPipe: posix_spawn_file_actions_adddup2(actions, pipe_end, stream); break;
  }
}

}  // namespace

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

std::string ExitStatus::ToString() const {
  return signal != 0 ? "signal " + SignalName(signal) : fmt::format("exit code {}", code);
}

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Spawn(const SpawnOptions& options) {
  if (options.argv.empty() || options.argv[0].empty())
    return InvalidArgument("starting a process: no program was named");
  auto child = std::unique_ptr<Subprocess>(new Subprocess());
  int out_pipe[2] = {-1, -1};
  int err_pipe[2] = {-1, -1};
  if (options.stdout_to.kind == OutputTo::Kind::kPipe) {
    RETURN_IF_ERROR(MakePipe(out_pipe));
    child->out_fd_ = out_pipe[0];
  }
  if (options.stderr_to.kind == OutputTo::Kind::kPipe) {
    if (auto made = MakePipe(err_pipe); !made.ok()) {
      if (out_pipe[1] >= 0) close(out_pipe[1]);
      return made;
    }
    child->err_fd_ = err_pipe[0];
  }

  SpawnAttributes spawn;
  // The directory first: relative file names are then the child's.
  if (!options.cwd.empty())
    posix_spawn_file_actions_addchdir_np(&spawn.actions, options.cwd.c_str());
  posix_spawn_file_actions_addopen(
      &spawn.actions, 0, options.stdin_file.empty() ? "/dev/null" : options.stdin_file.c_str(),
      O_RDONLY, 0);
  Redirect(&spawn.actions, options.stdout_to, 1, out_pipe[1]);
  Redirect(&spawn.actions, options.stderr_to, 2, err_pipe[1]);
  posix_spawn_file_actions_addclosefrom_np(&spawn.actions, 3);

  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  if (options.new_process_group && !options.new_session) flags |= POSIX_SPAWN_SETPGROUP;
  posix_spawnattr_setflags(&spawn.attributes, flags);
  posix_spawnattr_setpgroup(&spawn.attributes, 0);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&spawn.attributes, &none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigdefault(&spawn.attributes, &all);

  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> environment = ChildEnvironment(options);
  std::vector<char*> argv = Pointers(arguments);
  std::vector<char*> envp = Pointers(environment);
  const int error = posix_spawnp(&child->pid_, argv[0], &spawn.actions, &spawn.attributes,
                                 argv.data(), envp.data());
  if (out_pipe[1] >= 0) close(out_pipe[1]);
  if (err_pipe[1] >= 0) close(err_pipe[1]);
  if (error != 0) {
    child->pid_ = -1;
    child->released_ = true;
    return SystemError(error, fmt::format("starting '{}'", options.argv[0]));
  }
  child->pidfd_ =
      static_cast<int>(syscall(SYS_pidfd_open, child->pid_, 0));  // closes on exec by itself
  if (child->pidfd_ < 0)
    return SystemError(errno, fmt::format("watching '{}' (pidfd_open)", options.argv[0]));
  return child;
}

Subprocess::~Subprocess() {
  if (pid_ > 0 && !exit_ && !released_) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  for (const int fd : {pidfd_, out_fd_, err_fd_}) {
    if (fd >= 0) close(fd);
  }
}

std::optional<ExitStatus> Subprocess::Poll() {
  if (exit_) return exit_;
  int status = 0;
  pid_t reaped;
  do {
    reaped = waitpid(pid_, &status, WNOHANG);
  } while (reaped < 0 && errno == EINTR);
  if (reaped == pid_) {
    ExitStatus result;
    if (WIFSIGNALED(status)) {
      result.signal = WTERMSIG(status);
    } else {
      result.code = WEXITSTATUS(status);
    }
    exit_ = result;
  } else if (reaped < 0) {
    exit_ = ExitStatus{255, 0};  // reaped by someone else: how it ended is not known
  }
  return exit_;
}

absl::StatusOr<ExitStatus> Subprocess::Wait(absl::Duration timeout) {
  const bool forever = timeout == absl::InfiniteDuration();
  const auto deadline = DeadlineAfter(timeout);
  for (;;) {
    if (Poll()) return *exit_;
    pollfd watched{pidfd_, POLLIN, 0};
    const int left = PollTimeout(forever, deadline);
    if (left == 0) {
      return absl::DeadlineExceededError(ToAbsl(fmt::format("process {} still runs", pid_)));
    }
    poll(&watched, 1, left);
  }
}

absl::Status Subprocess::Signal(int signal) {
  if (Poll()) return absl::OkStatus();
  if (kill(pid_, signal) != 0 && errno != ESRCH) {
    return SystemError(errno, fmt::format("sending {} to process {}", SignalName(signal), pid_));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExitStatus> Subprocess::Terminate(absl::Duration grace) {
  RETURN_IF_ERROR(Signal(SIGTERM));
  if (auto ended = Wait(grace); ended.ok()) return ended;
  RETURN_IF_ERROR(Signal(SIGKILL));
  return Wait();
}

absl::StatusOr<Subprocess::Output> Subprocess::ReadOutput(absl::Duration timeout) {
  const bool forever = timeout == absl::InfiniteDuration();
  const auto deadline = DeadlineAfter(timeout);
  Output output;
  const auto drain = [](int& fd, std::string& into) {
    char buffer[16384];
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n > 0) {
      into.append(buffer, static_cast<size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      close(fd);
      fd = -1;
    }
  };
  while (out_fd_ >= 0 || err_fd_ >= 0) {
    pollfd watched[2] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
    const int left = PollTimeout(forever, deadline);
    if (left == 0)
      return absl::DeadlineExceededError(ToAbsl(fmt::format("process {} still writes", pid_)));
    if (poll(watched, 2, left) <= 0) continue;
    if (watched[0].revents != 0) drain(out_fd_, output.out);
    if (watched[1].revents != 0) drain(err_fd_, output.err);
  }
  return output;
}

absl::StatusOr<CommandResult> RunCommand(SpawnOptions options, absl::Duration timeout) {
  options.stdout_to = OutputTo::Pipe();
  options.stderr_to = OutputTo::Pipe();
  const auto deadline = DeadlineAfter(timeout);
  ASSIGN_OR_RETURN(auto child, Subprocess::Spawn(options));
  ASSIGN_OR_RETURN_WITH(auto output, child->ReadOutput(timeout),
                        "running '" + options.argv[0] + "'");
  const absl::Duration left =
      timeout == absl::InfiniteDuration()
          ? timeout
          : std::max(absl::Milliseconds(100), absl::FromChrono(deadline - Steady::now()));
  ASSIGN_OR_RETURN_WITH(const ExitStatus exit, child->Wait(left),
                        "running '" + options.argv[0] + "'");
  return CommandResult{exit, std::move(output.out), std::move(output.err)};
}

}  // namespace neolog
