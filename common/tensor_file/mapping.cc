#include "common/tensor_file/mapping.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace neolog {

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

absl::Status Mapping::Map(const std::string& path) {
  // A pipe is refused below; opening one must not wait for who writes into it.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string message = fmt::format("'{}': {}", path, strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? NotFound(message) : FailedPrecondition(message);
  }
  struct stat info;
  absl::Status status;
  if (fstat(fd, &info) != 0) {
    status = FailedPrecondition(fmt::format("'{}': {}", path, strerror(errno)));
  } else if (!S_ISREG(info.st_mode)) {
    status = InvalidArgument(fmt::format("'{}' is not a file: expected a file of weights", path));
  } else if (info.st_size > 0) {
    size_ = static_cast<size_t>(info.st_size);
    void* data = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      status = FailedPrecondition(
          fmt::format("'{}': cannot map {} bytes: {}", path, size_, strerror(errno)));
    } else {
      data_ = data;
    }
  }
  close(fd);
  return status;
}

}  // namespace neolog
