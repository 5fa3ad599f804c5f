#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"

/// Helpers for programs that look after other processes: who they are, one at a time, and signals
/// as data.
namespace neolog {

/// A process that can be named later without meaning another one that got its number.
struct ProcessId {
  pid_t pid = 0;
  /// When it started, in the kernel's clock ticks since boot; 0 when unknown.
  uint64_t start_ticks = 0;
};

/// The process with this number as it is now; nothing when there is none (a zombie counts as none).
std::optional<ProcessId> FindProcess(pid_t pid);

/// Whether this very process still lives.
bool IsAlive(const ProcessId& process);

/// Sends a signal to this very process. NotFound when it is gone.
absl::Status SignalProcess(const ProcessId& process, int signal);

/// Bytes of memory that this process may use: the machine's, or what its control group allows when
/// that is less.
int64_t AvailableMemory();

/// The path of the running program (/proc/self/exe), for finding its siblings.
std::string SelfPath();

/// An advisory lock on a file, held while the object lives and freed by the kernel when the process
/// dies. The file holds the process id of the last holder.
class LockFile {
 public:
  /// AlreadyExists when another process holds it; the message names the process. Creates the file
  /// with mode 0600.
  static absl::StatusOr<std::unique_ptr<LockFile>> Acquire(const std::string& path);
  /// The process that holds the lock, or nothing.
  static std::optional<pid_t> Holder(const std::string& path);
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_;
};

/// Signals as data on a descriptor: the handlers only write one byte to a pipe. One object at a
/// time in a process; the destructor restores the earlier handlers.
class SignalPipe {
 public:
  /// FailedPrecondition when another SignalPipe lives.
  static absl::StatusOr<std::unique_ptr<SignalPipe>> Create(std::initializer_list<int> signals);
  ~SignalPipe();
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;
  /// Readable when a signal is waiting.
  int fd() const { return fd_; }
  /// The signals that came since the last call, in order. Does not block.
  std::vector<int> Take();

 private:
  SignalPipe() = default;
  struct Saved;
  std::vector<std::unique_ptr<Saved>> saved_;
  int fd_ = -1;
};

/// A descriptor that one thread makes readable to wake another one in poll (an eventfd).
class WakeFd {
 public:
  WakeFd();
  ~WakeFd();
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;
  int fd() const { return fd_; }
  /// Makes it readable. Any thread.
  void Wake();
  /// Makes it unreadable again.
  void Clear();

 private:
  int fd_;
};

}  // namespace neolog
