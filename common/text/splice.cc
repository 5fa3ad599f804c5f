#include "common/text/splice.h"

#include <fmt/format.h>

#include "common/text/unicode.h"

namespace neolog {
namespace {

constexpr size_t kMaxWordBytes = 100;
constexpr std::u32string_view kReserved = U"()[]{}:,|/\\\"";

/// The first part of a prompt, for messages.
std::string Shortened(std::string_view prompt) {
  if (prompt.size() <= 80) return std::string(prompt);
  size_t end = 77;
  while (end > 0 && (static_cast<unsigned char>(prompt[end]) & 0xc0u) == 0x80u) --end;
  return std::string(prompt.substr(0, end)) + "...";
}

}  // namespace

absl::StatusOr<SplicedPrompt> SplicePrompt(const Tokenizer& tokenizer, std::string_view prompt,
                                           const std::vector<LearnedWord>& words,
                                           int64_t positions) {
  std::vector<std::string> names;
  std::vector<int64_t> first_row;
  int64_t rows = 0;
  for (const LearnedWord& word : words) {
    if (!IsValidUtf8(word.name) || Tokenizer::Normalize(word.name).empty() || word.vectors < 1) {
      return InvalidArgument(
          fmt::format("the word '{}' with {} vectors cannot be put into prompts: expected a UTF-8 "
                      "name and at least one vector",
                      ReplaceInvalidUtf8(word.name), word.vectors));
    }
    names.push_back(word.name);
    first_row.push_back(rows);
    rows += word.vectors;
  }
  if (positions < 3)
    return InvalidArgument(fmt::format("{} positions: expected at least 3", positions));

  SplicedPrompt spliced;
  spliced.input_ids = {tokenizer.start_token()};
  spliced.slots = {-1};
  const auto last = static_cast<size_t>(positions - 1);  // where the end token stands at the latest
  for (const PromptPart& part : tokenizer.Split(prompt, names)) {
    if (part.word < 0) {
      for (int64_t id : part.tokens) {
        if (spliced.input_ids.size() == last) {
          spliced.truncated = true;
          break;
        }
        spliced.input_ids.push_back(id);
        spliced.slots.push_back(-1);
      }
    } else {
      const auto index = static_cast<size_t>(part.word);
      const auto vectors = static_cast<size_t>(words[index].vectors);
      if (vectors > last - spliced.input_ids.size()) {
        if (spliced.occurrences == 0) {
          return InvalidArgument(fmt::format(
              "the prompt '{}' is too long: the {} vectors of '{}' would begin at token {}, and a "
              "prompt has {}; shorten what stands before it or use fewer vectors",
              Shortened(prompt), vectors, words[index].name, spliced.input_ids.size(),
              positions - 2));
        }
        spliced.truncated = true;
      } else {
        for (size_t i = 0; i < vectors; ++i) {
          spliced.input_ids.push_back(0);
          spliced.slots.push_back(first_row[index] + static_cast<int64_t>(i));
        }
        ++spliced.occurrences;
      }
    }
    if (spliced.truncated) break;
  }
  spliced.input_ids.push_back(tokenizer.end_token());
  spliced.input_ids.resize(static_cast<size_t>(positions), tokenizer.pad_token());
  spliced.slots.resize(static_cast<size_t>(positions), -1);
  return spliced;
}

absl::Status CheckWord(const Tokenizer& tokenizer, std::string_view word) {
  if (word.empty())
    return InvalidArgument("the word is empty: expected the word as it will stand in prompts");
  const std::string shown = Shortened(ReplaceInvalidUtf8(word));
  if (!IsValidUtf8(word)) return InvalidArgument(fmt::format("the word '{}' is not UTF-8", shown));
  if (word.size() > kMaxWordBytes) {
    return InvalidArgument(fmt::format("the word '{}' has {} bytes: expected at most {}", shown,
                                       word.size(), kMaxWordBytes));
  }
  for (size_t pos = 0; pos < word.size();) {
    const size_t start = pos;
    const char32_t c = NextCodePoint(word, &pos);
    if (IsSpace(c)) {
      return InvalidArgument(fmt::format(
          "the word '{}' has white space in it: expected one word, for example with '-' instead",
          shown));
    }
    if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
      return InvalidArgument(fmt::format("the word has the control character U+{:04X} in it",
                                         static_cast<uint32_t>(c)));
    }
    if (kReserved.find(c) != kReserved.npos) {
      return InvalidArgument(
          fmt::format("the word '{}' has '{}' in it: ()[]{{}}:,|/\\\" have other meanings in "
                      "prompts and file names",
                      shown, word.substr(start, pos - start)));
    }
  }
  const std::vector<PromptPart> parts = tokenizer.Split(word, {});
  if (parts.empty())
    return InvalidArgument(fmt::format("the word '{}' has no visible characters", shown));
  if (tokenizer.ContainsAddedToken(word)) {
    return InvalidArgument(
        fmt::format("the word '{}' contains the text of one of the model's special tokens", shown));
  }
  if (parts.size() == 1 && parts[0].tokens.size() == 1) {
    return InvalidArgument(
        fmt::format("the word '{}' is already token {} of the model's vocabulary: choose one the "
                    "model does not know, such as '{}-new' or '<{}>'",
                    shown, parts[0].tokens[0], shown, shown));
  }
  return absl::OkStatus();
}

absl::StatusOr<PromptUse> CheckPrompts(const Tokenizer& tokenizer,
                                       const std::vector<std::string>& prompts,
                                       const LearnedWord& word, int64_t positions) {
  if (prompts.empty()) return InvalidArgument("there are no prompts");
  PromptUse use;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto spliced = SplicePrompt(tokenizer, prompts[i], {word}, positions);
    if (!spliced.ok())
      return Annotate(spliced.status(), fmt::format("prompt {} of {}", i + 1, prompts.size()));
    if (spliced->occurrences == 0) use.without_word.push_back(i);
  }
  if (use.without_word.size() == prompts.size()) {
    return InvalidArgument(
        fmt::format("the word '{}' stands in none of the {} prompts (the first is '{}'), so "
                    "nothing would be learned: put it, or [name], where the prompts speak of it",
                    word.name, prompts.size(), Shortened(prompts[0])));
  }
  return use;
}

}  // namespace neolog
