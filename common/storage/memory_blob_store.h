#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/storage/blob_store.h"

namespace neolog {

/// True for 64 lower-case hex digits: everything else is no blob's name.
bool IsDigest(std::string_view digest);

/// Blobs in memory, for tests; they are lost with the object.
class MemoryBlobStore : public BlobStore {
 public:
  absl::StatusOr<std::string> Put(std::string_view bytes) override;
  /// InvalidArgument when `digest` is not 64 lower-case hex digits.
  absl::StatusOr<std::string> Get(std::string_view digest) override;
  absl::StatusOr<std::vector<bool>> Has(const std::vector<std::string>& digests) override;

  /// Replaces the bytes under a digest, as a failing disk would. NotFound when it is not stored.
  absl::Status Corrupt(std::string_view digest, std::string_view bytes);
  /// Puts that need more than this in all give ResourceExhausted.
  void SetCapacity(uint64_t bytes);

 private:
  Mutex mutex_;
  std::map<std::string, std::string, std::less<>> blobs_ GUARDED_BY(mutex_);
  uint64_t capacity_ GUARDED_BY(mutex_) = UINT64_MAX;
};

}  // namespace neolog
