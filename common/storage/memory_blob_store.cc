#include "common/storage/memory_blob_store.h"

#include <utility>

#include "common/base/hash.h"
#include "fmt/format.h"

namespace neolog {

bool IsDigest(std::string_view digest) {
  return digest.size() == 64 &&
         digest.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

absl::StatusOr<std::string> MemoryBlobStore::Put(std::string_view bytes) {
  std::string digest = Sha256Hex(bytes);
  MutexLock lock(mutex_);
  uint64_t used = bytes.size();
  for (const auto& [name, blob] : blobs_) {
    if (name != digest) used += blob.size();
  }
  if (used > capacity_) {
    return absl::ResourceExhaustedError(
        fmt::format("no room for a blob of {} bytes", bytes.size()));
  }
  blobs_[digest] = std::string(bytes);
  return digest;
}

absl::StatusOr<std::string> MemoryBlobStore::Get(std::string_view digest) {
  if (!IsDigest(digest)) return InvalidArgument(fmt::format("'{}' is not a blob's digest", digest));
  MutexLock lock(mutex_);
  const auto found = blobs_.find(digest);
  if (found == blobs_.end()) return NotFound(fmt::format("blob {} is not stored", digest));
  if (Sha256Hex(found->second) != digest) {
    return DataLoss(fmt::format("blob {}: its bytes no longer fit its digest", digest));
  }
  return found->second;
}

absl::StatusOr<std::vector<bool>> MemoryBlobStore::Has(const std::vector<std::string>& digests) {
  MutexLock lock(mutex_);
  std::vector<bool> has;
  for (const std::string& digest : digests) {
    if (!IsDigest(digest))
      return InvalidArgument(fmt::format("'{}' is not a blob's digest", digest));
    has.push_back(blobs_.count(digest) > 0);
  }
  return has;
}

absl::Status MemoryBlobStore::Corrupt(std::string_view digest, std::string_view bytes) {
  MutexLock lock(mutex_);
  const auto found = blobs_.find(digest);
  if (found == blobs_.end()) return NotFound(fmt::format("blob {} is not stored", digest));
  found->second = std::string(bytes);
  return absl::OkStatus();
}

void MemoryBlobStore::SetCapacity(uint64_t bytes) {
  MutexLock lock(mutex_);
  capacity_ = bytes;
}

}  // namespace neolog
