#include "common/storage/posix_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "fmt/format.h"

namespace neolog {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT: return absl::StatusCode::kNotFound;
    case EEXIST: return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS: return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case EFBIG: return absl::StatusCode::kResourceExhausted;
    case EISDIR:
    case ENOTDIR:
    case ENOTEMPTY: return absl::StatusCode::kFailedPrecondition;
    default: return absl::StatusCode::kInternal;
  }
}

absl::Status ErrnoStatus(int error, std::string_view action, std::string_view path) {
  const std::string reason = std::generic_category().message(error);
  return {CodeOf(error), fmt::format("cannot {} '{}': {}", action, path, reason)};
}

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int OpenRetrying(const std::string& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(std::string path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  absl::Status Append(std::string_view bytes) override {
    if (fd_.get() < 0) return Closed();
    while (!bytes.empty()) {
      const ssize_t written = write(fd_.get(), bytes.data(), bytes.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(errno, "write to", path_);
      }
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (fd_.get() < 0) return Closed();
    if (fsync(fd_.get()) != 0) return ErrnoStatus(errno, "sync", path_);
    return absl::OkStatus();
  }

  absl::Status Close() override {
    if (fd_.get() < 0) return Closed();
    // Linux frees the descriptor even when close reports an error, so it is never retried.
    if (close(fd_.Release()) != 0 && errno != EINTR) return ErrnoStatus(errno, "close", path_);
    return absl::OkStatus();
  }

 private:
  absl::Status Closed() const {
    return FailedPrecondition(fmt::format("'{}' is closed already", path_));
  }

  const std::string path_;
  Descriptor fd_;
};

class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::string> Read(std::string_view path, uint64_t max_bytes) override {
    const std::string p(path);
    Descriptor fd(OpenRetrying(p, O_RDONLY));
    if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
    struct stat info;
    if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "read", path);
    if (S_ISDIR(info.st_mode)) return ErrnoStatus(EISDIR, "read", path);
    const auto too_large = [&](uint64_t size) {
      return InvalidArgument(
          fmt::format("'{}' has {} bytes, more than the {} allowed here", path, size, max_bytes));
    };
    const uint64_t size = static_cast<uint64_t>(info.st_size);
    if (size > max_bytes) return too_large(size);
    std::string bytes;
    bytes.reserve(size);
    // The size above is only a hint: the file may grow while it is read, and in /proc it is 0.
    for (char buffer[1 << 16];;) {
      const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
      if (n < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(errno, "read", path);
      }
      if (n == 0) return bytes;
      if (bytes.size() + static_cast<size_t>(n) > max_bytes) return too_large(bytes.size() + n);
      bytes.append(buffer, static_cast<size_t>(n));
    }
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(std::string_view path) override {
    return Open(path, O_WRONLY | O_CREAT | O_EXCL, "create");
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(std::string_view path) override {
    return Open(path, O_WRONLY | O_CREAT | O_APPEND, "open");
  }

  absl::Status Rename(std::string_view from, std::string_view to) override {
    if (rename(std::string(from).c_str(), std::string(to).c_str()) != 0) {
      const int error = errno;
      return ErrnoStatus(error, "rename", fmt::format("{}' to '{}", from, to));
    }
    return absl::OkStatus();
  }

  absl::Status Remove(std::string_view path) override {
    if (unlink(std::string(path).c_str()) != 0) return ErrnoStatus(errno, "remove", path);
    return absl::OkStatus();
  }

  absl::Status CreateDirectories(std::string_view path) override {
    std::string p(path);
    while (p.size() > 1 && p.back() == '/') p.pop_back();
    ASSIGN_OR_RETURN(const bool there, IsDirectory(p));
    if (there) return absl::OkStatus();
    const std::string parent = DirectoryOf(p);
    RETURN_IF_ERROR(CreateDirectories(parent));
    if (mkdir(p.c_str(), 0777) != 0 && errno != EEXIST)
      return ErrnoStatus(errno, "create directory", p);
    ASSIGN_OR_RETURN(const bool made, IsDirectory(p));
    if (!made) return ErrnoStatus(ENOTDIR, "create directory", p);
    return SyncDirectory(parent);
  }

  absl::Status SyncDirectory(std::string_view path) override {
    Descriptor fd(OpenRetrying(std::string(path), O_RDONLY | O_DIRECTORY));
    if (fd.get() < 0) return ErrnoStatus(errno, "open directory", path);
    // EINVAL: file systems that cannot sync a directory keep its names durable by other means.
    if (fsync(fd.get()) != 0 && errno != EINVAL) return ErrnoStatus(errno, "sync directory", path);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::string>> List(std::string_view path) override {
    DIR* dir = opendir(std::string(path).c_str());
    if (dir == nullptr) return ErrnoStatus(errno, "list", path);
    std::vector<std::string> names;
    int error = 0;
    for (;;) {
      errno = 0;
      // readdir is safe while no other thread uses this DIR, and none does.
      const dirent* entry = readdir(dir);  // NOLINT(concurrency-mt-unsafe)
      if (entry == nullptr) {
        error = errno;
        break;
      }
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    closedir(dir);
    if (error != 0) return ErrnoStatus(error, "list", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<FileInfo> Stat(std::string_view path) override {
    struct stat info;
    if (stat(std::string(path).c_str(), &info) != 0) {
      // A file where a directory is needed means that nothing is at the path.
      return ErrnoStatus(errno == ENOTDIR ? ENOENT : errno, "look at", path);
    }
    if (S_ISDIR(info.st_mode)) return FileInfo{.is_directory = true};
    return FileInfo{.size = static_cast<uint64_t>(info.st_size)};
  }

 private:
  static absl::StatusOr<std::unique_ptr<WritableFile>> Open(std::string_view path, int flags,
                                                            std::string_view action) {
    std::string p(path);
    Descriptor fd(OpenRetrying(p, flags, 0666));
    if (fd.get() < 0) return ErrnoStatus(errno, action, path);
    return std::make_unique<PosixWritableFile>(std::move(p), std::move(fd));
  }

  /// False when nothing is there; FailedPrecondition when a file is.
  static absl::StatusOr<bool> IsDirectory(const std::string& path) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) {
      if (errno == ENOENT) return false;
      return ErrnoStatus(errno, "create directory", path);
    }
    if (!S_ISDIR(info.st_mode)) return ErrnoStatus(ENOTDIR, "create directory", path);
    return true;
  }
};

}  // namespace

std::unique_ptr<FileSystem> MakePosixFileSystem() { return std::make_unique<PosixFileSystem>(); }

}  // namespace neolog
