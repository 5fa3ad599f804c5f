#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// The files of a diffusers folder that make the model what it is, relative to `folder`, sorted:
/// model_index.json and the configurations, tokenizer files and weights (.json, .txt, .safetensors)
/// of its parts. Folders that are missing have no files.
std::vector<std::string> ModelFiles(const std::string& folder);

/// SHA-256 over the names and the SHA-256s of `files` in `folder`: the model's fingerprint, 64 hex
/// digits. The hashes of files are kept in `cache_file` by path, size and time of change, so that a
/// model is read once; an unreadable or unwritable cache (or an empty name: none) only costs time.
/// Several processes may share it. Errors name the file.
absl::StatusOr<std::string> ModelFingerprint(const std::string& folder,
                                             const std::vector<std::string>& files,
                                             const std::string& cache_file);

}  // namespace neolog
