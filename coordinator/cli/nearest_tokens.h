#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/embedding/embedding.h"

namespace neolog::cli {

/// A token of a model's vocabulary beside a learned vector.
struct NearToken {
  /// As vocab.json has it: "cat</w>".
  std::string token;
  int64_t id = 0;
  /// The cosine of the angle between the two vectors.
  double cosine = 0;
};

/// For each block and each of its vectors the `count` tokens whose own vectors point most nearly
/// the same way, the nearest first; of equal ones the lower id. `model` is anything OpenCheckpoint
/// takes: the blocks are compared with its text encoders' tables. InvalidArgument when the widths
/// are not the model's; other errors as OpenCheckpoint's.
absl::StatusOr<std::vector<std::vector<std::vector<NearToken>>>> NearestTokens(
    const Embedding& embedding, const std::string& model, size_t count,
    const std::string& file_name);

}  // namespace neolog::cli
