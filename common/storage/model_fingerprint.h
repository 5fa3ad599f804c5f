#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// A file that makes a model what it is. `name` is the same wherever the model lies
/// ("unet/config.json").
struct ModelFile {
  std::string name;
  std::string path;
};

/// SHA-256 over the names and the SHA-256s of `files`, in their order: the model's fingerprint, 64
/// hex digits. The hashes of files are kept in `cache_file` by path, size and time of change, so
/// that a model is read once; an unreadable or unwritable cache (or an empty name: none) only costs
/// time. Several processes may share it. Errors name the file.
absl::StatusOr<std::string> ModelFingerprint(const std::vector<ModelFile>& files,
                                             const std::string& cache_file);

}  // namespace neolog
