#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/embedding/embedding.h"

namespace neolog {

/// The torch file that AUTOMATIC1111's web UI makes of an embedding: the dictionary string_to_token
/// {"*": 265}, string_to_param {"*": float32 [N, D]}, name, step, sd_checkpoint,
/// sd_checkpoint_name, in this order. Members are data.pkl, data/0 and version only: older versions
/// of the web UI refuse others. `embedding` has one block.
std::string WriteA1111(const Embedding& embedding);

/// The blocks under `keys`, in this order, as torch.save writes a dictionary of tensors.
std::string WriteTorchDict(const Embedding& embedding, const std::vector<std::string>& keys);

/// An embedding from a torch file: A1111's dictionary, the original trainer's, a dictionary of
/// tensors, or the bare tensor. The name is empty where the file has none. Does not check sizes and
/// values. Errors as ReadEmbedding says, without the file's name.
absl::StatusOr<Embedding> ReadTorchEmbedding(std::string_view bytes);

}  // namespace neolog
