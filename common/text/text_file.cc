#include "common/text/text_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace neolog {

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes) {
  // Not blocking: a named pipe in place of the file is refused below instead of waited for.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string message = fmt::format("'{}': {}", path, strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? NotFound(message) : FailedPrecondition(message);
  }
  struct stat info;
  std::string bytes;
  absl::Status status;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = InvalidArgument(fmt::format("'{}' is not a file", path));
  } else {
    std::array<char, 65536> chunk;
    for (;;) {
      const ssize_t n = read(fd, chunk.data(), chunk.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) status = FailedPrecondition(fmt::format("'{}': {}", path, strerror(errno)));
      if (n <= 0) break;
      if (bytes.size() + static_cast<size_t>(n) > max_bytes) {
        status = InvalidArgument(
            fmt::format("'{}' has more than {} bytes, the limit for such a file", path, max_bytes));
        break;
      }
      bytes.append(chunk.data(), static_cast<size_t>(n));
    }
  }
  close(fd);
  if (!status.ok()) return status;
  return bytes;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    if (newline == text.npos) break;
    text.remove_prefix(newline + 1);
  }
  return lines;
}

absl::StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes) {
  z_stream stream{};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) return Internal("zlib does not start");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  std::array<char, 65536> chunk;
  int result = Z_OK;
  while (result == Z_OK && text.size() <= max_bytes) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = chunk.size();
    result = inflate(&stream, Z_NO_FLUSH);
    text.append(chunk.data(), chunk.size() - stream.avail_out);
  }
  const size_t consumed = packed.size() - stream.avail_in;
  inflateEnd(&stream);
  if (text.size() > max_bytes)
    return DataLoss(fmt::format("its contents have more than {} bytes", max_bytes));
  if (result != Z_STREAM_END)
    return DataLoss(fmt::format("byte {}: it is not gzip, or damaged or cut", consumed));
  return text;
}

}  // namespace neolog
