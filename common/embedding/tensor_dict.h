#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/embedding/embedding.h"

namespace neolog {

/// A tensor of a safetensors or torch file.
struct NamedTensor {
  std::string key;
  std::vector<int64_t> shape;
  std::function<absl::StatusOr<std::vector<float>>()> read;
};

/// The embedding in a file that is a dictionary of tensors: one tensor, or clip_l and clip_g.
/// Checks which tensors there are and their ranks; the caller checks sizes and values. Errors as
/// ReadEmbedding says, without the file's name.
absl::StatusOr<Embedding> EmbeddingOfTensors(const std::vector<NamedTensor>& tensors);

/// One tensor as a block; `vectors` becomes its N. A tensor [D] is one vector. InvalidArgument for
/// other ranks and types.
absl::StatusOr<EmbeddingBlock> BlockOfTensor(const NamedTensor& tensor, int64_t* vectors);

/// The embedding in a safetensors file.
absl::StatusOr<Embedding> ReadSafetensorsEmbedding(std::string_view bytes,
                                                   std::string_view file_name);

/// The blocks under `keys`, in this order, as a safetensors file.
absl::StatusOr<std::string> WriteSafetensorsDict(const Embedding& embedding,
                                                 const std::vector<std::string>& keys);

}  // namespace neolog
