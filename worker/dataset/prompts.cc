#include "worker/dataset/prompts.h"

#include "common/text/prompts.h"

namespace neolog::dataset {

absl::StatusOr<EncodedPrompt> EncodePrompt(const Tokenizer& tokenizer, std::string_view text,
                                           const LearnedWord& word, int64_t positions) {
  std::vector<LearnedWord> words;
  if (!word.name.empty()) words.push_back(word);
  ASSIGN_OR_RETURN(SplicedPrompt spliced, SplicePrompt(tokenizer, text, words, positions));
  return EncodedPrompt{std::string(text), std::move(spliced.input_ids), std::move(spliced.slots)};
}

absl::StatusOr<Prompts> Prompts::Create(const v1::RunSpec& spec, const Tokenizer& tokenizer,
                                        int64_t positions) {
  Prompts prompts(spec, tokenizer, positions);
  const v1::DataSpec& data = spec.data();
  std::vector<std::string> texts;
  for (int prompt = 0; prompt == 0 || prompt < data.templates_size(); ++prompt) {
    const bool differs = data.templates_size() == 0 || UsesFileWords(data.templates(prompt));
    for (int image = 0; image < (differs ? data.samples_size() : 1); ++image) {
      texts.push_back(prompts.TextOf(static_cast<uint32_t>(prompt), static_cast<uint32_t>(image)));
    }
  }
  RETURN_IF_ERROR(CheckPrompts(tokenizer, texts, prompts.word_, positions));
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
  return EncodePrompt(*tokenizer_, text, word_, positions_);
}

std::vector<int64_t> InitialTokens(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int64_t> ids = tokenizer.Encode(text);
  ids.erase(ids.begin());
  ids.pop_back();
  return ids;
}

}  // namespace neolog::dataset
