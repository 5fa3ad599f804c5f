#include "common/base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "common/base/subprocess.h"

namespace neolog {
namespace {

std::atomic<int> g_signal_fd{-1};  // the only way into a signal handler

void OnSignal(int signal) {
  const int saved_errno = errno;
  const unsigned char byte = static_cast<unsigned char>(signal);
  const int fd = g_signal_fd.load();
  if (fd >= 0) {
    [[maybe_unused]] const ssize_t written = write(fd, &byte, 1);
  }
  errno = saved_errno;
}

}  // namespace

std::optional<ProcessId> FindProcess(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The second field is the program's name in brackets and may hold anything: count from the last
  // bracket.
  const size_t bracket = line.rfind(')');
  if (bracket == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(bracket + 1));
  std::string field;
  fields >> field;
  if (field == "Z" || field == "X") return std::nullopt;
  for (int i = 4; i <= 22; ++i) fields >> field;  // field 22 is starttime
  return ProcessId{pid, std::strtoull(field.c_str(), nullptr, 10)};
}

bool IsAlive(const ProcessId& process) {
  const auto found = FindProcess(process.pid);
  return found && (process.start_ticks == 0 || found->start_ticks == process.start_ticks);
}

absl::Status SignalProcess(const ProcessId& process, int signal) {
  if (!IsAlive(process)) return NotFound(fmt::format("process {} is gone", process.pid));
  if (kill(process.pid, signal) != 0) {
    return absl::ErrnoToStatus(
        errno, ToAbsl(fmt::format("sending {} to process {}", SignalName(signal), process.pid)));
  }
  return absl::OkStatus();
}

int64_t AvailableMemory() {
  int64_t memory =
      static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  // Version 2 of control groups, and 1. Without a limit they say "max", or a number beyond memory.
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0) memory = std::min(memory, limit);
  }
  return memory;
}

std::string SelfPath() {
  char buffer[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", buffer, sizeof(buffer));
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
}

absl::StatusOr<std::unique_ptr<LockFile>> LockFile::Acquire(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return absl::ErrnoToStatus(errno, ToAbsl(fmt::format("opening the lock file '{}'", path)));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(fd);
    if (error != EWOULDBLOCK)
      return absl::ErrnoToStatus(error, ToAbsl(fmt::format("locking '{}'", path)));
    const auto holder = Holder(path);
    return AlreadyExists(
        fmt::format("'{}' is locked by process {}", path, holder ? std::to_string(*holder) : "?"));
  }
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int error = errno;
    close(fd);
    return absl::ErrnoToStatus(error, ToAbsl(fmt::format("writing the lock file '{}'", path)));
  }
  return std::unique_ptr<LockFile>(new LockFile(fd));
}

std::optional<pid_t> LockFile::Holder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::optional<pid_t> holder;
  if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    char buffer[32] = {};
    if (read(fd, buffer, sizeof(buffer) - 1) > 0) holder = static_cast<pid_t>(std::atoi(buffer));
  }
  close(fd);  // frees the shared lock as well
  return holder;
}

LockFile::~LockFile() { close(fd_); }

struct SignalPipe::Saved {
  int signal;
  struct sigaction action;
};

absl::StatusOr<std::unique_ptr<SignalPipe>> SignalPipe::Create(std::initializer_list<int> signals) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
    return absl::ErrnoToStatus(errno, "making a pipe for signals");
  int none = -1;
  if (!g_signal_fd.compare_exchange_strong(none, fds[1])) {
    close(fds[0]);
    close(fds[1]);
    return FailedPrecondition("signals are already taken by another SignalPipe");
  }
  auto pipe = std::unique_ptr<SignalPipe>(new SignalPipe());
  pipe->fd_ = fds[0];
  for (const int signal : signals) {
    auto saved = std::make_unique<Saved>();
    saved->signal = signal;
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, &saved->action);
    pipe->saved_.push_back(std::move(saved));
  }
  return pipe;
}

SignalPipe::~SignalPipe() {
  for (const auto& saved : saved_) sigaction(saved->signal, &saved->action, nullptr);
  close(g_signal_fd.exchange(-1));
  close(fd_);
}

std::vector<int> SignalPipe::Take() {
  std::vector<int> taken;
  unsigned char byte;
  while (read(fd_, &byte, 1) == 1) taken.push_back(byte);
  return taken;
}

WakeFd::WakeFd() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

WakeFd::~WakeFd() { close(fd_); }

void WakeFd::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
}

void WakeFd::Clear() {
  uint64_t count;
  [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof(count));
}

}  // namespace neolog
