#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/checkpoint/memory_estimate.h"
#include "common/config/config.h"
#include "common/storage/blob_store.h"

namespace neolog::cli {

/// What the checks need from outside, so that tests can replace it.
struct InputDependencies {
  FileSystem* fs = nullptr;
  /// Where hashes of model files are kept.
  std::string fingerprint_cache;
  /// False when an idempotency key may name the very run that log_dir holds.
  bool check_log_dir = true;
};

/// A picture as it will be uploaded.
struct PictureFile {
  std::string path;
  std::string digest;
};

/// The outcome of looking at everything that a run file names.
struct Inputs {
  /// Pictures in the order of data.samples.
  std::vector<PictureFile> pictures;
  /// For the user, when there are no errors: pictures left out, prompts without the word.
  std::vector<std::string> warnings;
  /// What training needs on the run's kind of device; where the model can be used.
  std::optional<MemoryEstimate> memory;
};

/// Checks a run's inputs and fills in what submission fills in: samples, templates, fingerprint,
/// text_widths and initial_rows. `config` must have been read without errors of its own; problems
/// are added to config.errors, each at the setting it is about, all of them in one go: model
/// folder, pictures, word, prompts, init_file, log_dir.
Inputs CheckInputs(config::ConfigResult& config, const InputDependencies& dependencies);

/// Uploads the pictures that the store has not. `keep_going` is asked before each. Aborted when it
/// says no; DataLoss when a file changed since it was checked.
absl::Status UploadPictures(const std::vector<PictureFile>& pictures, FileSystem& fs,
                            BlobStore& blobs, const std::function<bool()>& keep_going);

}  // namespace neolog::cli
