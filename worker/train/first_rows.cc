#include "worker/train/first_rows.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "worker/torch_support/call.h"
#include "worker/train/trained_run.h"

namespace neolog::train {

using torch_support::CallTorch;

absl::StatusOr<std::vector<float>> FirstRows(const v1::WordSpec& word,
                                             const std::vector<uint32_t>& widths,
                                             const diffusion::Model& model,
                                             const Tokenizer& tokenizer) {
  const size_t count = word.vectors() * std::accumulate(widths.begin(), widths.end(), size_t{0});
  std::vector<float> rows(count, 0.0f);
  if (!word.initial_rows().empty()) {
    if (word.initial_rows().size() != count * sizeof(float)) {
      return InvalidArgument(
          fmt::format("word.initial_rows (from init_file '{}') have {} bytes; expected {} for {} "
                      "vectors of the model's text "
                      "width {}",
                      word.init_file(), word.initial_rows().size(), count * sizeof(float),
                      word.vectors(), fmt::join(widths, " + ")));
    }
    std::memcpy(rows.data(), word.initial_rows().data(), word.initial_rows().size());
    return rows;
  }
  const std::vector<int64_t> tokens = dataset::InitialTokens(tokenizer, word.init_text());
  if (tokens.empty()) return rows;
  std::vector<int64_t> ids;
  for (const uint32_t at : InitialTokenOf(word.vectors(), static_cast<uint32_t>(tokens.size()))) {
    ids.push_back(tokens[at]);
  }
  RETURN_IF_ERROR(CallTorch("reading the embeddings of init_text", [&] {
    float* to = rows.data();
    for (size_t encoder = 0; encoder < widths.size(); ++encoder) {
      const at::Tensor embeddings = model.TokenEmbeddings(encoder, ids).contiguous();
      to = std::copy_n(embeddings.data_ptr<float>(), embeddings.numel(), to);
    }
  }));
  return rows;
}

}  // namespace neolog::train
