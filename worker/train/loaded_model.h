#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "neolog/v1/run_spec.pb.h"
#include "worker/dataset/prompts.h"
#include "worker/diffusion/model.h"

namespace neolog::train {

/// The one frozen model that a worker has in memory, with its tokenizers. One thread.
class LoadedModel {
 public:
  /// `fingerprint_cache` keeps the hashes of model files between processes
  /// (common/storage/model_fingerprint.h); empty: nothing is kept.
  explicit LoadedModel(std::string fingerprint_cache)
      : fingerprint_cache_(std::move(fingerprint_cache)) {}

  /// Makes `spec`'s model the loaded one: true when another one, or none, was loaded before. Its
  /// files must have the fingerprint that the run was made for (InvalidArgument naming both
  /// otherwise); a run without one is not checked. After an error nothing is loaded.
  absl::StatusOr<bool> Load(const v1::ModelSpec& spec, const diffusion::ModelOptions& options);

  const diffusion::Model& model() const { return *model_; }
  const dataset::Tokenizers& tokenizers() const { return tokenizers_; }

 private:
  absl::Status CheckFingerprint(const v1::ModelSpec& spec, const Checkpoint& checkpoint) const;

  const std::string fingerprint_cache_;
  std::string key_;  // what model_ was loaded from, and how
  std::unique_ptr<diffusion::Model> model_;
  dataset::Tokenizers tokenizers_;
};

}  // namespace neolog::train
