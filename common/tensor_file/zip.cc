#include "common/tensor_file/zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <optional>
#include <vector>

// The format: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.

namespace neolog {
namespace {

constexpr size_t kMaxMembers = 100'000;
constexpr size_t kMaxNameBytes = 1024;
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocator64Signature = 0x07064b50;
constexpr size_t kLocalBytes = 30;
constexpr size_t kDirectoryBytes = 46;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kLocator64Bytes = 20;
constexpr size_t kAlignment = 64;
constexpr uint16_t kFlags = 0x0808;  // sizes follow the data; names are UTF-8

uint64_t Little(std::string_view bytes, uint64_t at, int size) {
  uint64_t value = 0;
  for (int i = size - 1; i >= 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[at + static_cast<uint64_t>(i)]);
  return value;
}

void Put(uint64_t value, int size, std::string* out) {
  for (int i = 0; i < size; ++i) out->push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

uint32_t Crc(std::string_view data) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

absl::Status At(uint64_t offset, std::string_view what) {
  return DataLoss(fmt::format("byte {}: {}", offset, what));
}

/// Where the central directory is.
struct Directory {
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t count = 0;
};

absl::StatusOr<Directory> FindDirectory(std::string_view bytes) {
  // The end record is followed by a comment of at most 65,535 bytes that reaches exactly to the end
  // of the file.
  std::optional<size_t> end;
  for (size_t back = kEndBytes; back <= std::min<size_t>(bytes.size(), kEndBytes + 0xffff);
       ++back) {
    const size_t at = bytes.size() - back;
    if (Little(bytes, at, 4) == kEndSignature && Little(bytes, at + 20, 2) == back - kEndBytes) {
      end = at;
      break;
    }
  }
  if (!end)
    return At(bytes.size(),
              "the zip archive has no end record: it is cut short, or not a zip archive");
  if (Little(bytes, *end + 4, 2) != 0 || Little(bytes, *end + 6, 2) != 0)
    return At(*end, "the zip archive is one of several parts");
  Directory directory{Little(bytes, *end + 16, 4), Little(bytes, *end + 12, 4),
                      Little(bytes, *end + 10, 2)};
  uint64_t limit = *end;
  if (*end >= kLocator64Bytes && Little(bytes, *end - kLocator64Bytes, 4) == kLocator64Signature) {
    const uint64_t at = Little(bytes, *end - kLocator64Bytes + 8, 8);
    if (at > *end - kLocator64Bytes || *end - kLocator64Bytes - at < kEnd64Bytes ||
        Little(bytes, at, 4) != kEnd64Signature) {
      return At(*end - kLocator64Bytes, "the zip64 locator points to no zip64 end record");
    }
    const Directory big{Little(bytes, at + 48, 8), Little(bytes, at + 40, 8),
                        Little(bytes, at + 32, 8)};
    const auto agrees = [](uint64_t small, uint64_t large, uint64_t full) {
      return small == full || small == large;
    };
    if (!agrees(directory.offset, big.offset, 0xffffffff) ||
        !agrees(directory.size, big.size, 0xffffffff) ||
        !agrees(directory.count, big.count, 0xffff)) {
      return At(at, "the zip64 end record contradicts the end record");
    }
    directory = big;
    limit = at;
  }
  if (directory.offset > limit || directory.size != limit - directory.offset) {
    return At(*end,
              fmt::format(
                  "the directory, {} bytes from byte {}, does not end where the end record starts",
                  directory.size, directory.offset));
  }
  if (directory.count > kMaxMembers)
    return At(*end,
              fmt::format("{} members, more than the limit of {}", directory.count, kMaxMembers));
  return directory;
}

/// Takes the 64-bit values of a zip64 extra field for the fields that are saturated, in the order
/// the format gives them.
absl::Status ApplyZip64(std::string_view extra, uint64_t at,
                        std::initializer_list<uint64_t*> fields) {
  std::string_view values;
  bool found = false;
  for (size_t pos = 0; pos + 4 <= extra.size();) {
    const uint64_t id = Little(extra, pos, 2);
    const uint64_t size = Little(extra, pos + 2, 2);
    if (size > extra.size() - pos - 4) return At(at + pos, "an extra field goes beyond its header");
    if (id == 1) {
      if (found) return At(at + pos, "two zip64 fields");
      found = true;
      values = extra.substr(pos + 4, size);
    }
    pos += 4 + size;
  }
  for (uint64_t* field : fields) {
    if (*field != 0xffffffff) continue;
    if (values.size() < 8) return At(at, "a size of 4 GB or more without a zip64 field");
    *field = Little(values, 0, 8);
    values.remove_prefix(8);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string_view>> ReadStoredZip(std::string_view bytes,
                                                                      ZipChecks checks) {
  ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes));
  std::map<std::string, std::string_view> members;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;  // of local header and data
  const uint64_t end = directory.offset + directory.size;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.count; ++i) {
    if (end - at < kDirectoryBytes || Little(bytes, at, 4) != kDirectorySignature)
      return At(at, "expected a directory entry");
    const uint64_t flags = Little(bytes, at + 8, 2);
    const uint64_t method = Little(bytes, at + 10, 2);
    const auto crc = static_cast<uint32_t>(Little(bytes, at + 16, 4));
    uint64_t packed = Little(bytes, at + 20, 4);
    uint64_t size = Little(bytes, at + 24, 4);
    const uint64_t name_size = Little(bytes, at + 28, 2);
    const uint64_t extra_size = Little(bytes, at + 30, 2);
    const uint64_t comment_size = Little(bytes, at + 32, 2);
    uint64_t local = Little(bytes, at + 42, 4);
    if (name_size + extra_size + comment_size > end - at - kDirectoryBytes)
      return At(at, "a directory entry goes beyond the directory");
    if (name_size > kMaxNameBytes)
      return At(at, fmt::format("a name of {} bytes, more than the limit of {}", name_size,
                                kMaxNameBytes));
    const std::string_view name = bytes.substr(at + kDirectoryBytes, name_size);
    RETURN_IF_ERROR(ApplyZip64(bytes.substr(at + kDirectoryBytes + name_size, extra_size),
                               at + kDirectoryBytes + name_size, {&size, &packed, &local}));
    if ((flags & 1) != 0)
      return InvalidArgument(fmt::format("byte {}: the archive's members are encrypted", at));
    if (method != 0) {
      return InvalidArgument(
          fmt::format("byte {}: the archive's members are compressed (method {}): expected them "
                      "stored, as torch.save does",
                      at, method));
    }
    if (packed != size) return At(at, "a stored member with two sizes");
    if (local > directory.offset || directory.offset - local < kLocalBytes ||
        Little(bytes, local, 4) != kLocalSignature) {
      return At(at, "a directory entry points to no local header");
    }
    const uint64_t data =
        local + kLocalBytes + Little(bytes, local + 26, 2) + Little(bytes, local + 28, 2);
    if (data > directory.offset || size > directory.offset - data)
      return At(local, "a member goes beyond the directory's start");
    if (bytes.substr(local + kLocalBytes, Little(bytes, local + 26, 2)) != name ||
        Little(bytes, local + 8, 2) != 0) {
      return At(local, "a local header contradicts the directory");
    }
    const std::string_view contents = bytes.substr(data, size);
    if (checks == ZipChecks::kAll && Crc(contents) != crc)
      return At(data, "a member's checksum is wrong: the file is damaged");
    if (!members.emplace(name, contents).second)
      return At(at, "a name appears twice in the directory");
    ranges.emplace_back(local, data + size);
    at += kDirectoryBytes + name_size + extra_size + comment_size;
  }
  if (at != end) return At(at, "the directory holds more than its entries");
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) return At(ranges[i].first, "members overlap");
  }
  return members;
}

void StoredZipWriter::Add(std::string_view name, std::string_view data) {
  const uint64_t local = bytes_.size();
  const uint32_t crc = Crc(data);
  const size_t unpadded = bytes_.size() + kLocalBytes + name.size() + 4;
  const size_t padding = kAlignment - unpadded % kAlignment;
  Put(kLocalSignature, 4, &bytes_);
  Put(0, 2, &bytes_);  // version
  Put(kFlags, 2, &bytes_);
  bytes_.append(2 + 4 + 12, '\0');  // method, time and date, checksum and sizes
  Put(name.size(), 2, &bytes_);
  Put(4 + padding, 2, &bytes_);
  bytes_ += name;
  bytes_ += "FB";
  Put(padding, 2, &bytes_);
  bytes_.append(padding, 'Z');
  bytes_ += data;
  bytes_ += "PK\x07\x08";
  Put(crc, 4, &bytes_);
  Put(data.size(), 4, &bytes_);
  Put(data.size(), 4, &bytes_);

  Put(kDirectorySignature, 4, &directory_);
  Put(0, 4, &directory_);  // versions
  Put(kFlags, 2, &directory_);
  Put(0, 6, &directory_);  // method, time and date
  Put(crc, 4, &directory_);
  Put(data.size(), 4, &directory_);
  Put(data.size(), 4, &directory_);
  Put(name.size(), 2, &directory_);
  directory_.append(12, '\0');  // extra, comment, disk, attributes
  Put(local, 4, &directory_);
  directory_ += name;
  ++count_;
}

std::string StoredZipWriter::Finish() {
  const uint64_t offset = bytes_.size();
  bytes_ += directory_;
  Put(kEndSignature, 4, &bytes_);
  Put(0, 4, &bytes_);
  Put(count_, 2, &bytes_);
  Put(count_, 2, &bytes_);
  Put(directory_.size(), 4, &bytes_);
  Put(offset, 4, &bytes_);
  Put(0, 2, &bytes_);
  return std::move(bytes_);
}

}  // namespace neolog
