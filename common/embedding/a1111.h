#pragma once

#include <string>
#include <string_view>

#include "common/embedding/embedding.h"

namespace neolog {

/// The torch file that AUTOMATIC1111's web UI makes of an embedding: the dictionary string_to_token
/// {"*": 265}, string_to_param {"*": float32 [N, D]}, name, step, sd_checkpoint,
/// sd_checkpoint_name, in this order. Members are data.pkl, data/0 and version only: older versions
/// of the web UI refuse others. InvalidArgument when a text is not UTF-8.
absl::StatusOr<std::string> WriteA1111(const Embedding& embedding);

/// An embedding from a torch file: A1111's dictionary, the original trainer's, or one tensor under
/// its word. The name is empty where the file has none. Does not check the values. Errors as
/// ReadEmbedding says, without the file's name.
absl::StatusOr<Embedding> ReadTorchEmbedding(std::string_view bytes);

}  // namespace neolog
