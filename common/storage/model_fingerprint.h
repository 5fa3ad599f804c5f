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
/// hex digits. `cache_file` keeps the hashes of files (file_hashes.h). Errors name the file.
absl::StatusOr<std::string> ModelFingerprint(const std::vector<ModelFile>& files,
                                             const std::string& cache_file);

/// What AUTOMATIC1111's web UI calls a single-file model by.
struct ModelHashes {
  std::string sha256;      // of the file, 64 hex digits
  std::string short_hash;  // its first 10: "[6ce0161689]" beside the model's name
  /// The hash of web UIs before 2023: the first 8 digits of the SHA-256 of the 64 KB from 1 MB on.
  /// A shorter file's is that of what it has there, at the shortest of nothing.
  std::string old_hash;
};

/// The hashes of the model file `path` (modules/hashes.py, and model_hash in modules/sd_models.py
/// of the web UI). `cache_file` as above. Errors name the file.
absl::StatusOr<ModelHashes> HashesAsA1111(const std::string& path, const std::string& cache_file);

}  // namespace neolog
