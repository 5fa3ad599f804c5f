#include "worker/generate/draw.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "worker/dataset/prompts.h"
#include "worker/generate/picture.h"

namespace neolog::generate {

absl::Status DrawAll(const diffusion::Model& model, const dataset::Tokenizers& tokenizers,
                     const DrawList& list, const std::function<absl::Status(Drawn)>& take) {
  if (list.prompts.empty()) return InvalidArgument("there is no prompt to draw");
  const diffusion::ModelInfo& info = model.info();
  LearnedWord word;
  at::Tensor rows = at::zeros({0}, at::kFloat);
  if (list.embedding.has_value()) {
    const Embedding& embedding = *list.embedding;
    RETURN_IF_ERROR(CheckWidths(embedding, info.text_widths, embedding.name));
    word = {embedding.name, embedding.vectors};
    const std::vector<float> values = embedding.Rows();
    rows = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
    std::copy(values.begin(), values.end(), rows.data_ptr<float>());
  }
  PictureRequest request;
  request.rows = rows;
  request.sampler = list.sampler;
  request.steps = list.steps;
  request.cfg = list.cfg;
  request.side =
      list.side != 0 ? list.side : static_cast<uint32_t>(info.sample_size * info.latent_factor);
  for (size_t n = 0; n < list.prompts.size(); ++n) {
    ASSIGN_OR_RETURN(request.prompts, dataset::EncodePicturePrompts(
                                          tokenizers, list.prompts[n], list.negative_prompt, word,
                                          info.text_positions, list.rules));
    request.seed = list.seed + n;
    Drawn drawn{list.prompts[n], request.seed, {}};
    ASSIGN_OR_RETURN(drawn.png, DrawPng(model, request));
    RETURN_IF_ERROR(take(std::move(drawn)));
  }
  return absl::OkStatus();
}

}  // namespace neolog::generate
