#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// A file that is being written, front to back. One thread at a time. The destructor closes without
/// syncing.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  /// Adds `bytes` at the end. ResourceExhausted when the disk is full; a part of `bytes` may have
  /// been written then.
  virtual absl::Status Append(std::string_view bytes) = 0;
  /// Everything appended so far survives a power loss once this returned OK. After an error nothing
  /// may be assumed about what is on the disk, and calling again does not help: write another file.
  virtual absl::Status Sync() = 0;
  /// Closes; needed to see errors that the system reports late. Append and Sync fail afterwards.
  virtual absl::Status Close() = 0;
};

/// What a path is.
struct FileInfo {
  bool is_directory = false;
  /// Bytes; 0 for a directory.
  uint64_t size = 0;
};

/// The only way to the disk, so that tests can fail it. Safe for use from any thread. Paths are
/// UTF-8; relative ones start at the process's working directory.
///
/// Codes of every function: NotFound (no such file or parent directory), AlreadyExists,
/// PermissionDenied (also a read-only disk), ResourceExhausted (disk or quota full, too many open
/// files), FailedPrecondition (a directory where a file is needed, or the other way round),
/// Internal (anything else). Every message names the path.
///
/// There is no function that writes to a file in place: WriteFileDurably (durable_write.h) replaces
/// files whole.
class FileSystem {
 public:
  static constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

  virtual ~FileSystem() = default;
  /// The whole file. InvalidArgument when it has more than `max_bytes`; nothing is read then.
  virtual absl::StatusOr<std::string> Read(std::string_view path,
                                           uint64_t max_bytes = kNoLimit) = 0;
  /// A new, empty file; AlreadyExists when something of that name is there.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(std::string_view path) = 0;
  /// A file whose end is written at; created when it is missing.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(std::string_view path) = 0;
  /// Gives a file another name, replacing the file that has it: readers see the one or the other,
  /// never a mixture. The change survives a power loss only after SyncDirectory.
  virtual absl::Status Rename(std::string_view from, std::string_view to) = 0;
  /// Removes a file. NotFound when it is not there.
  virtual absl::Status Remove(std::string_view path) = 0;
  /// Makes the directory and its missing parents, durably. OK when it is there already.
  virtual absl::Status CreateDirectories(std::string_view path) = 0;
  /// Names created, renamed and removed in the directory survive a power loss once this returned
  /// OK.
  virtual absl::Status SyncDirectory(std::string_view path) = 0;
  /// The names in a directory, sorted by bytes, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(std::string_view path) = 0;
  /// What is at `path` (symbolic links are followed); NotFound when nothing is.
  virtual absl::StatusOr<FileInfo> Stat(std::string_view path) = 0;

  /// True when something is at `path`. An error other than NotFound counts as true: do not
  /// overwrite what you cannot see.
  bool Exists(std::string_view path);
};

/// `directory`/`name`, without doubling the slash.
std::string JoinPath(std::string_view directory, std::string_view name);
/// What is before the last slash: "a/b" of "a/b/c", "." of "c", "/" of "/c".
std::string DirectoryOf(std::string_view path);

}  // namespace neolog
