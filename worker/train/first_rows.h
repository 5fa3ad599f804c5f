#pragma once

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "neolog/v1/run_spec.pb.h"
#include "worker/dataset/prompts.h"
#include "worker/diffusion/model.h"

namespace neolog::train {

/// The rows that a run's one word starts from, encoder by encoder, [K, D] each with D of `widths`:
/// those of its file, or the embeddings of the tokens of init_text (InitialTokenOf), or zeros.
/// InvalidArgument when the file's do not fit.
absl::StatusOr<std::vector<float>> FirstRows(const v1::WordSpec& word,
                                             const std::vector<uint32_t>& widths,
                                             const diffusion::Model& model,
                                             const Tokenizer& tokenizer);

}  // namespace neolog::train
