#pragma once

#include <memory>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/text/tokenizer.h"

namespace neolog {

/// The tokenizers of a model, one a text encoder. NotFound when a folder has none, or CLIP's merges
/// file is not there (Tokenizer::FindMergesFile); InvalidArgument when the model has fewer tokens
/// than the tokenizer. Other errors as Tokenizer's.
absl::StatusOr<std::vector<std::unique_ptr<Tokenizer>>> LoadTokenizers(
    const Checkpoint& checkpoint);

}  // namespace neolog
