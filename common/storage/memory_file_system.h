#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/storage/file_system.h"

namespace neolog {

/// A file system in memory that can fail as a disk does: it remembers what was synced, and drops or
/// tears the rest. For tests. It starts with the directories "/" and ".".
class MemoryFileSystem : public FileSystem {
 public:
  /// What a power loss leaves of things that were not synced; both are allowed by POSIX.
  enum class Crash {
    /// Neither unsynced bytes nor unsynced names: finds a missing directory sync.
    kDropUnsynced,
    /// Names as they were last, and half of the unsynced bytes: finds a rename before the file's
    /// sync.
    kKeepNamesTearBytes,
  };

  MemoryFileSystem();
  ~MemoryFileSystem() override;

  absl::StatusOr<std::string> Read(std::string_view path, uint64_t max_bytes = kNoLimit) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(std::string_view path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(std::string_view path) override;
  absl::Status Rename(std::string_view from, std::string_view to) override;
  absl::Status Remove(std::string_view path) override;
  absl::Status CreateDirectories(std::string_view path) override;
  absl::Status SyncDirectory(std::string_view path) override;
  absl::StatusOr<std::vector<std::string>> List(std::string_view path) override;
  absl::StatusOr<FileInfo> Stat(std::string_view path) override;

  /// The n-th operation that changes something from now on (1 is the next one) fails with `status`;
  /// an Append has written half of its bytes by then. With `and_all_later` so does every one after
  /// it, until ClearFaults: the machine is dying.
  void FailOperation(int n, absl::Status status, bool and_all_later = false);
  /// No planned failure, no capacity limit.
  void ClearFaults();
  /// Appends beyond this many bytes in all files together write what fits and give
  /// ResourceExhausted.
  void SetCapacity(uint64_t bytes);
  /// Changing operations so far, failed ones included: run once to count, then fail each in turn.
  int operations() const;
  /// The power goes. Open files are lost: their operations fail from then on.
  void PowerLoss(Crash crash);
  /// Replaces a file's bytes behind everyone's back: a disk that lies. NotFound when there is no
  /// such file.
  absl::Status Corrupt(std::string_view path, std::string_view bytes);

 private:
  struct Node;
  class File;

  /// Counts a changing operation; not OK when it is planned to fail.
  absl::Status Count() REQUIRES(mutex_);
  uint64_t TotalBytes() const REQUIRES(mutex_);
  absl::StatusOr<std::string> CheckParent(std::string_view path) const REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<Node>> names_ GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<Node>> durable_names_ GUARDED_BY(mutex_);
  std::set<std::string> directories_ GUARDED_BY(mutex_);
  uint64_t generation_ GUARDED_BY(mutex_) = 0;  // power losses so far
  uint64_t capacity_ GUARDED_BY(mutex_) = kNoLimit;
  int operations_ GUARDED_BY(mutex_) = 0;
  int fail_at_ GUARDED_BY(mutex_) = 0;
  bool fail_later_ GUARDED_BY(mutex_) = false;
  absl::Status failure_ GUARDED_BY(mutex_);
};

}  // namespace neolog
