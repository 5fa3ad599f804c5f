#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "common/base/status.h"

namespace neolog {

/// SHA-256 of files, kept in `cache_file` by path, size and time of change, so that a model of
/// gigabytes is read once. An unreadable or unwritable cache (or an empty name: none) only costs
/// time. Several processes may share a cache: what another has written meanwhile is kept. One
/// thread may use an object.
class FileHashes {
 public:
  explicit FileHashes(std::string cache_file);
  /// Writes what is new to the cache.
  ~FileHashes();
  FileHashes(const FileHashes&) = delete;
  FileHashes& operator=(const FileHashes&) = delete;

  /// 64 hex digits. NotFound and DataLoss name the file.
  absl::StatusOr<std::string> Sha256Of(const std::string& path);

 private:
  const std::string cache_file_;
  std::unique_ptr<nlohmann::json> cache_, found_;  // what was there, and what was hashed since
};

}  // namespace neolog
