// Any bytes as a prompt that is encoded in chunks. The first byte says how many vectors the word
// "zesko" has, the second how many positions a chunk has, the third the rules.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/attention.h"
#include "common/text/splice.h"
#include "tests/common/text/small_vocabulary.h"

namespace {

const neolog::Tokenizer& TheTokenizer() {
  static const auto* const tokenizer =
      neolog::Tokenizer::FromFiles(neolog::testing::SmallVocabulary({"c a", "ca t</w>"}), "small")
          .value()
          .release();
  return *tokenizer;
}

/// Ids (or -1 - row) of all parts of the prompt in order, not cut into chunks.
std::vector<int64_t> Flat(std::string_view prompt, const neolog::LearnedWord& word,
                          neolog::Emphasis emphasis) {
  std::vector<neolog::WeightedText> texts = {{std::string(prompt)}};
  if (emphasis == neolog::Emphasis::kA1111) texts = *neolog::ParseAttention(prompt);
  std::vector<int64_t> flat;
  for (const neolog::WeightedText& text : texts) {
    for (const neolog::PromptPart& part : TheTokenizer().Split(text.text, {word.name})) {
      flat.insert(flat.end(), part.tokens.begin(), part.tokens.end());
      for (int64_t i = 0; part.word >= 0 && i < word.vectors; ++i) flat.push_back(-1 - i);
    }
  }
  return flat;
}

void Check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const neolog::LearnedWord word{"zesko", 1 + data[0] % 40};
  const int64_t positions = 3 + data[1] % 80;
  neolog::PromptRules rules;
  rules.long_prompts = neolog::LongPrompts::kChunk;
  if (data[2] & 1) rules.emphasis = neolog::Emphasis::kA1111;
  rules.min_chunks = data[2] >> 1 & 7;
  const std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);

  const auto spliced = neolog::SplicePrompt(TheTokenizer(), text, {word}, positions, rules);
  if (!spliced.ok()) return 0;
  const auto length = static_cast<size_t>(positions);
  Check(spliced->input_ids.size() % length == 0 && !spliced->input_ids.empty());
  Check(spliced->input_ids.size() / length >= static_cast<size_t>(rules.min_chunks));
  Check(spliced->slots.size() == spliced->input_ids.size());
  Check(spliced->weights.empty() || spliced->weights.size() == spliced->input_ids.size());
  Check(spliced->lost == 0);

  // Between start and end tokens stands the prompt, every token once and in order, words whole.
  // (Not where it holds end tokens of its own: which is which cannot be told then.)
  const std::vector<int64_t> flat = Flat(text, word, rules.emphasis);
  if (std::find(flat.begin(), flat.end(), TheTokenizer().end_token()) != flat.end()) return 0;
  size_t at = 0;
  int64_t occurrences = 0;
  for (size_t first = 0; first < spliced->input_ids.size(); first += length) {
    Check(spliced->input_ids[first] == TheTokenizer().start_token() && spliced->slots[first] == -1);
    int64_t next_row = 0;
    size_t i = first + 1;
    for (; i + 1 < first + length && at < flat.size(); ++i, ++at) {
      const int64_t found = spliced->slots[i] >= 0 ? -1 - spliced->slots[i] : spliced->input_ids[i];
      if (found != flat[at]) break;
      if (spliced->slots[i] >= 0) {
        Check(spliced->slots[i] == next_row);
        next_row = (next_row + 1) % word.vectors;
        if (next_row == 0) ++occurrences;
      } else {
        Check(next_row == 0);
      }
    }
    Check(next_row == 0);
    Check(spliced->input_ids[i] == TheTokenizer().end_token());
    for (; i < first + length; ++i) {
      Check(spliced->slots[i] == -1);
      Check(spliced->weights.empty() || spliced->weights[i] == 1);
    }
  }
  Check(at == flat.size());
  Check(occurrences == spliced->occurrences);

  // What fits is what a truncated prompt is, unless it has BREAK in it.
  rules.long_prompts = neolog::LongPrompts::kTruncate;
  const auto cut = neolog::SplicePrompt(TheTokenizer(), text, {word}, positions, rules);
  if (cut.ok()) {
    Check(cut->input_ids.size() == length && cut->slots.size() == length);
    if (cut->lost == 0) {
      Check(std::equal(cut->input_ids.begin(), cut->input_ids.end(), spliced->input_ids.begin()));
      Check(std::equal(cut->slots.begin(), cut->slots.end(), spliced->slots.begin()));
    }
  }
  return 0;
}
