#include "worker/dataset/prompts.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "common/text/prompts.h"
#include "worker/diffusion/rows.h"

namespace neolog::dataset {

absl::StatusOr<EncodedPrompt> EncodePrompt(const Tokenizers& tokenizers, std::string_view text,
                                           const LearnedWord& word, int64_t positions,
                                           const PromptRules& rules) {
  std::vector<LearnedWord> words;
  if (!word.name.empty()) words.push_back(word);
  EncodedPrompt prompt{std::string(text), {}};
  PromptRules filled_up = rules;
  size_t longest = 0, shortest = 0;
  do {
    prompt.encoders.clear();
    for (const std::unique_ptr<Tokenizer>& tokenizer : tokenizers) {
      ASSIGN_OR_RETURN(SplicedPrompt spliced,
                       SplicePrompt(*tokenizer, text, words, positions, filled_up));
      const size_t length = spliced.input_ids.size();
      longest = std::max(longest, length);
      shortest = prompt.encoders.empty() ? length : std::min(shortest, length);
      prompt.encoders.push_back(
          {std::move(spliced.input_ids), std::move(spliced.slots), std::move(spliced.weights)});
    }
    filled_up.min_chunks = static_cast<int64_t>(longest) / positions;
  } while (shortest < longest);
  return prompt;
}

absl::StatusOr<PicturePrompts> EncodePicturePrompts(const Tokenizers& tokenizers,
                                                    std::string_view prompt,
                                                    std::string_view negative,
                                                    const LearnedWord& word, int64_t positions,
                                                    const PromptRules& rules) {
  PicturePrompts both;
  PromptRules filled_up = rules;
  for (int pass = 0; pass < 2; ++pass) {
    ASSIGN_OR_RETURN(both.prompt, EncodePrompt(tokenizers, prompt, word, positions, filled_up));
    ASSIGN_OR_RETURN_WITH(both.negative,
                          EncodePrompt(tokenizers, negative, word, positions, filled_up),
                          "the negative prompt");
    const size_t length = both.prompt.encoders.at(0).ids.size();
    const size_t negative_length = both.negative.encoders.at(0).ids.size();
    if (length == negative_length) break;
    filled_up.min_chunks = static_cast<int64_t>(std::max(length, negative_length)) / positions;
  }
  return both;
}

std::vector<diffusion::TextInput> TextInputsOf(const std::vector<const EncodedPrompt*>& prompts,
                                               const at::Tensor& flat_rows,
                                               const std::vector<int64_t>& widths) {
  const std::vector<at::Tensor> rows = diffusion::RowBlocks(flat_rows, widths);
  std::vector<diffusion::TextInput> inputs;
  for (size_t encoder = 0; encoder < rows.size(); ++encoder) {
    std::vector<at::Tensor> ids, slots, weights;
    const bool weighted = std::any_of(
        prompts.begin(), prompts.end(),
        [&](const EncodedPrompt* prompt) { return !prompt->encoders.at(encoder).weights.empty(); });
    for (const EncodedPrompt* prompt : prompts) {
      const EncodedText& text = prompt->encoders.at(encoder);
      ids.push_back(at::tensor(at::ArrayRef<int64_t>(text.ids), at::kLong));
      slots.push_back(at::tensor(at::ArrayRef<int64_t>(text.slots), at::kLong));
      if (!weighted) continue;
      weights.push_back(text.weights.empty()
                            ? at::ones({static_cast<int64_t>(text.ids.size())}, at::kFloat)
                            : at::tensor(at::ArrayRef<float>(text.weights), at::kFloat));
    }
    inputs.push_back({at::stack(ids), at::stack(slots), rows[encoder],
                      weighted ? at::stack(weights) : at::Tensor()});
  }
  return inputs;
}

absl::StatusOr<Prompts> Prompts::Create(const v1::RunSpec& spec, const Tokenizers& tokenizers,
                                        int64_t positions) {
  ASSIGN_OR_RETURN(const PromptRules rules, PromptRulesOf(spec.text().long_prompts(), ""));
  Prompts prompts(spec, tokenizers, positions, rules);
  const v1::DataSpec& data = spec.data();
  std::vector<std::string> texts;
  for (int prompt = 0; prompt == 0 || prompt < data.templates_size(); ++prompt) {
    const bool differs = data.templates_size() == 0 || UsesFileWords(data.templates(prompt));
    for (int image = 0; image < (differs ? data.samples_size() : 1); ++image) {
      texts.push_back(prompts.TextOf(static_cast<uint32_t>(prompt), static_cast<uint32_t>(image)));
    }
  }
  // Each encoder's tokenizer for itself: OpenCLIP's takes a run of "!" for more tokens than
  // CLIP-L's.
  for (const std::unique_ptr<Tokenizer>& tokenizer : tokenizers) {
    ASSIGN_OR_RETURN(const PromptUse use,
                     CheckPrompts(*tokenizer, texts, prompts.word_, positions, rules));
    prompts.rules_.min_chunks = std::max(prompts.rules_.min_chunks, use.chunks);
  }
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
    absl::StatusOr<EncodedPrompt> encoded =
        EncodePrompt(*tokenizers_, TextOf(prompt, image), word_, positions_, rules_);
    place = encoded_.emplace(key, *std::move(encoded)).first;
  }
  return place->second;
}

absl::StatusOr<PicturePrompts> Prompts::OfPreview(uint32_t index) const {
  const v1::PreviewSpec& preview = spec_.preview();
  ASSIGN_OR_RETURN(const PromptRules rules,
                   PromptRulesOf(spec_.text().long_prompts(), preview.emphasis()));
  return EncodePicturePrompts(*tokenizers_, preview.prompts(static_cast<int>(index)),
                              preview.negative_prompt(), word_, positions_, rules);
}

std::vector<int64_t> InitialTokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int64_t> ids = tokenizer.Encode(text);
  ids.erase(ids.begin());
  ids.pop_back();
  return ids;
}

}  // namespace neolog::dataset
