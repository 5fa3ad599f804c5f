#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// Bytes by the SHA-256 of their content. Implementations are safe for use from any thread.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  /// Stores `bytes` and returns their digest: 64 lower-case hex digits. Storing the same bytes
  /// again does nothing. ResourceExhausted when there is no room; Unavailable when a remote store
  /// cannot be reached.
  virtual absl::StatusOr<std::string> Put(std::string_view bytes) = 0;
  /// The bytes of a digest. NotFound when they are not stored; DataLoss when what is stored no
  /// longer fits the digest.
  virtual absl::StatusOr<std::string> Get(std::string_view digest) = 0;
  /// Which of `digests` are stored, in order.
  virtual absl::StatusOr<std::vector<bool>> Has(const std::vector<std::string>& digests) = 0;
};

}  // namespace neolog
