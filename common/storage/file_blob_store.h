#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/storage/blob_store.h"
#include "common/storage/file_system.h"

namespace neolog {

/// Blobs as files: `<directory>/<first two digits>/<all 64 digits>`. Writes are atomic and durable
/// (durable_write.h), and what is read is checked against its name. One process owns the directory.
class FileBlobStore : public BlobStore {
 public:
  /// Opens or makes the store in `directory` and removes temporaries of a process that died. `fs`
  /// must outlive it.
  static absl::StatusOr<std::unique_ptr<FileBlobStore>> Create(FileSystem* fs,
                                                               std::string_view directory);

  /// A stored copy that no longer fits its digest is replaced.
  absl::StatusOr<std::string> Put(std::string_view bytes) override;
  /// InvalidArgument when `digest` is not 64 lower-case hex digits; DataLoss names the file.
  absl::StatusOr<std::string> Get(std::string_view digest) override;
  /// By name only: a blob that is there may still give DataLoss when it is read.
  absl::StatusOr<std::vector<bool>> Has(const std::vector<std::string>& digests) override;

  /// Where the bytes of a digest are, or would be. `digest` must be a digest.
  std::string PathOf(std::string_view digest) const;

 private:
  FileBlobStore(FileSystem* fs, std::string_view directory) : fs_(fs), directory_(directory) {}

  FileSystem* const fs_;
  const std::string directory_;
};

}  // namespace neolog
