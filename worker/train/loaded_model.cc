#include "worker/train/loaded_model.h"

#include <fmt/format.h>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/storage/model_fingerprint.h"

namespace neolog::train {

absl::StatusOr<bool> LoadedModel::Load(const v1::ModelSpec& spec,
                                       const diffusion::ModelOptions& options) {
  const std::string key = fmt::format(
      "{}\n{}\n{}\n{}\n{}\n{}\n{}", spec.path(), spec.fingerprint(), spec.vae(), spec.prediction(),
      static_cast<int>(options.precision), static_cast<int>(options.attention), options.device);
  if (model_ != nullptr && key == key_) return false;
  model_.reset();  // two models may not fit into memory
  tokenizers_.clear();
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(spec.path(), options.checkpoint));
  RETURN_IF_ERROR(CheckFingerprint(spec, checkpoint));
  ASSIGN_OR_RETURN(dataset::Tokenizers tokenizers, LoadTokenizers(checkpoint));
  ASSIGN_OR_RETURN(model_, diffusion::LoadModel(checkpoint, options));
  tokenizers_ = std::move(tokenizers);
  key_ = key;
  return true;
}

// Another model at the same path would train silently, and no team member would notice: each may
// have its own copy.
absl::Status LoadedModel::CheckFingerprint(const v1::ModelSpec& spec,
                                           const Checkpoint& checkpoint) const {
  if (spec.fingerprint().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN_WITH(const std::string found,
                        ModelFingerprint(checkpoint.files, fingerprint_cache_),
                        fmt::format("checking the model '{}'", spec.path()));
  if (found == spec.fingerprint()) return absl::OkStatus();
  return InvalidArgument(
      fmt::format("the model '{}' has fingerprint {} on this machine, but the run was made with "
                  "{}: copy the files that it was "
                  "submitted with there, or submit it again with this model",
                  spec.path(), found, spec.fingerprint()));
}

}  // namespace neolog::train
