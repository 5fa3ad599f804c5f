#include "worker/dataset/prompts.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "common/text/prompts.h"
#include "worker/diffusion/rows.h"

namespace neolog::dataset {

absl::StatusOr<EncodedPrompt> EncodePrompt(const Tokenizers& tokenizers, std::string_view text,
                                           const LearnedWord& word, int64_t positions) {
  std::vector<LearnedWord> words;
  if (!word.name.empty()) words.push_back(word);
  EncodedPrompt prompt{std::string(text), {}};
  for (const std::unique_ptr<Tokenizer>& tokenizer : tokenizers) {
    ASSIGN_OR_RETURN(SplicedPrompt spliced, SplicePrompt(*tokenizer, text, words, positions));
    prompt.encoders.push_back({std::move(spliced.input_ids), std::move(spliced.slots)});
  }
  return prompt;
}

std::vector<diffusion::TextInput> TextInputsOf(const std::vector<const EncodedPrompt*>& prompts,
                                               const at::Tensor& flat_rows,
                                               const std::vector<int64_t>& widths) {
  const std::vector<at::Tensor> rows = diffusion::RowBlocks(flat_rows, widths);
  std::vector<diffusion::TextInput> inputs;
  for (size_t encoder = 0; encoder < rows.size(); ++encoder) {
    std::vector<at::Tensor> ids, slots;
    for (const EncodedPrompt* prompt : prompts) {
      ids.push_back(at::tensor(at::ArrayRef<int64_t>(prompt->encoders.at(encoder).ids), at::kLong));
      slots.push_back(
          at::tensor(at::ArrayRef<int64_t>(prompt->encoders.at(encoder).slots), at::kLong));
    }
    inputs.push_back({at::stack(ids), at::stack(slots), rows[encoder]});
  }
  return inputs;
}

absl::StatusOr<Prompts> Prompts::Create(const v1::RunSpec& spec, const Tokenizers& tokenizers,
                                        int64_t positions) {
  Prompts prompts(spec, tokenizers, positions);
  const v1::DataSpec& data = spec.data();
  std::vector<std::string> texts;
  for (int prompt = 0; prompt == 0 || prompt < data.templates_size(); ++prompt) {
    const bool differs = data.templates_size() == 0 || UsesFileWords(data.templates(prompt));
    for (int image = 0; image < (differs ? data.samples_size() : 1); ++image) {
      texts.push_back(prompts.TextOf(static_cast<uint32_t>(prompt), static_cast<uint32_t>(image)));
    }
  }
  RETURN_IF_ERROR(CheckPrompts(*tokenizers[0], texts, prompts.word_, positions));
  return prompts;
}

std::string Prompts::TextOf(uint32_t prompt, uint32_t image) const {
  const std::string& caption = spec_.data().samples(static_cast<int>(image)).caption();
  if (spec_.data().templates_size() == 0) return FillTemplate(caption, word_.name, caption);
  return FillTemplate(spec_.data().templates(static_cast<int>(prompt)), word_.name, caption);
}

const EncodedPrompt& Prompts::Of(uint32_t prompt, uint32_t image) {
  const bool shared = spec_.data().templates_size() > 0 &&
                      !UsesFileWords(spec_.data().templates(static_cast<int>(prompt)));
  const auto key = std::pair(prompt, shared ? 0 : image);
  auto place = encoded_.find(key);
  if (place == encoded_.end()) {
    // Create spliced every prompt once, so this cannot fail.
    absl::StatusOr<EncodedPrompt> encoded = Encode(TextOf(prompt, image));
    place = encoded_.emplace(key, *std::move(encoded)).first;
  }
  return place->second;
}

absl::StatusOr<EncodedPrompt> Prompts::Encode(std::string_view text) const {
  return EncodePrompt(*tokenizers_, text, word_, positions_);
}

std::vector<int64_t> InitialTokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int64_t> ids = tokenizer.Encode(text);
  ids.erase(ids.begin());
  ids.pop_back();
  return ids;
}

}  // namespace neolog::dataset
