#pragma once

#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/hints.h"

// What checkpoint.cc is made of. For this folder only.
namespace neolog::checkpoint_internal {

using Problems = std::vector<std::string>;

/// Reads `checkpoint->path`, a diffusers folder, into the rest.
void ReadFolder(const CheckpointOptions& options, Checkpoint* checkpoint, Problems* problems);
/// The same of a single file.
void ReadSingleFile(const CheckpointOptions& options, Checkpoint* checkpoint, Problems* problems);
/// Replaces the VAE by the one at `path`.
void ReplaceVae(const std::string& path, Checkpoint* checkpoint, Problems* problems);

/// Adds a problem when the parts' configurations do not fit one another.
void CheckConfigs(const Checkpoint& checkpoint, Problems* problems);
/// Brings the weights of a part, whose keys diffusers' names are, into agreement with its
/// configuration. Keys that no model computes with are dropped; others that are left over are
/// noted.
void FitPart(const Shapes& shapes, CheckpointPart* part, Checkpoint* checkpoint,
             Problems* problems);
/// Notes keys that are not used.
void NoteUnused(const std::vector<std::string>& keys, const std::string& where,
                Checkpoint* checkpoint);
/// Sets prediction and picture side from the options, hints or the family's rule.
void Decide(const CheckpointOptions& options, const ModelHints& hints, Checkpoint* checkpoint);

/// The scaling factor of a family's VAE.
double ScalingFactorOf(ModelFamily family);

/// The VAE below `prefix` of a file, in the original or in diffusers' names; empty when there is
/// none. Keys that no rule knows are added to `unknown`.
absl::StatusOr<WeightTable> VaeBelow(const WeightTable& table, const std::string& prefix,
                                     std::vector<std::string>* unknown);

}  // namespace neolog::checkpoint_internal
