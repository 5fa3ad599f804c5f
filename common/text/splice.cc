#include "common/text/splice.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "common/text/attention.h"
#include "common/text/unicode.h"

namespace neolog {
namespace {

constexpr size_t kMaxWordBytes = 100;
constexpr std::u32string_view kReserved = U"()[]{}:,|/\\\"";

/// How near to a full chunk's end a comma must be for the chunk to end behind it: the default of
/// A1111's comma_padding_backtrack.
constexpr size_t kCommaBacktrack = 20;

struct Token {
  int64_t id = 0;
  int64_t slot = -1;
  float weight = 1;
};

/// The words' names and the first row of each.
struct Names {
  std::vector<std::string> names;
  std::vector<int64_t> first_row;
};

absl::StatusOr<Names> NamesOf(const std::vector<LearnedWord>& words) {
  Names result;
  int64_t rows = 0;
  for (const LearnedWord& word : words) {
    if (!IsValidUtf8(word.name) || Tokenizer::Normalize(word.name).empty() || word.vectors < 1) {
      return InvalidArgument(
          fmt::format("the word '{}' with {} vectors cannot be put into prompts: expected a UTF-8 "
                      "name and at least one vector",
                      ReplaceInvalidUtf8(word.name), word.vectors));
    }
    result.names.push_back(word.name);
    result.first_row.push_back(rows);
    rows += word.vectors;
  }
  return result;
}

/// The tokens of a prompt on their way into chunks.
class Chunks {
 public:
  Chunks(const Tokenizer& tokenizer, size_t positions)
      : tokenizer_(tokenizer), positions_(positions), comma_(tokenizer.FindToken(",</w>")) {}

  size_t Capacity() const { return positions_ - 2; }
  size_t Room() const { return Capacity() - chunk_.size(); }
  size_t Filled() const { return chunk_.size(); }

  /// A word's rows, or an ordinary token as a group of one, in the chunk as it is.
  void Put(std::span<const Token> group) {
    chunk_.insert(chunk_.end(), group.begin(), group.end());
  }

  /// The same in the next chunk where this one has no room.
  void PutOrBegin(std::span<const Token> group) {
    const bool comma = group.size() == 1 && group[0].slot < 0 && group[0].id == comma_;
    if (Room() == 0) {
      // A comma that opens a chunk is none to come back to: A1111 forgets it there.
      if (comma || !last_comma_ || Capacity() - *last_comma_ > kCommaBacktrack) {
        End();
      } else {
        const std::vector<Token> moved(chunk_.begin() + static_cast<ptrdiff_t>(*last_comma_) + 1,
                                       chunk_.end());
        chunk_.resize(*last_comma_ + 1);
        End();
        chunk_ = moved;
      }
    } else if (comma) {
      last_comma_ = chunk_.size();
    }
    if (group.size() > Room()) End();
    Put(group);
  }

  /// Ends the chunk, also an empty one.
  void End() {
    const auto add = [&](const Token& token) {
      spliced_.input_ids.push_back(token.id);
      spliced_.slots.push_back(token.slot);
      spliced_.weights.push_back(token.weight);
    };
    const size_t end = spliced_.input_ids.size() + positions_;
    add({.id = tokenizer_.start_token()});
    for (const Token& token : chunk_) add(token);
    add({.id = tokenizer_.end_token()});
    while (spliced_.input_ids.size() < end) add({.id = tokenizer_.pad_token()});
    chunk_.clear();
    last_comma_.reset();
  }

  SplicedPrompt Finish(int64_t min_chunks) {
    if (!chunk_.empty()) End();
    const auto chunks = static_cast<size_t>(std::max<int64_t>(1, min_chunks));
    while (spliced_.input_ids.size() < positions_ * chunks) End();
    const auto is_one = [](float weight) { return weight == 1; };
    if (std::all_of(spliced_.weights.begin(), spliced_.weights.end(), is_one))
      spliced_.weights.clear();
    return std::move(spliced_);
  }

 private:
  const Tokenizer& tokenizer_;
  const size_t positions_;
  const std::optional<int64_t> comma_;
  std::vector<Token> chunk_;
  std::optional<size_t> last_comma_;  // its place in the chunk
  SplicedPrompt spliced_;
};

}  // namespace

std::string ShortenedPrompt(std::string_view prompt) {
  if (prompt.size() <= 80) return std::string(prompt);
  size_t end = 77;
  while (end > 0 && (static_cast<unsigned char>(prompt[end]) & 0xc0u) == 0x80u) --end;
  return std::string(prompt.substr(0, end)) + "...";
}

absl::StatusOr<PromptRules> PromptRulesOf(std::string_view long_prompts,
                                          std::string_view emphasis) {
  PromptRules rules;
  if (long_prompts == "chunk") {
    rules.long_prompts = LongPrompts::kChunk;
  } else if (!long_prompts.empty() && long_prompts != "truncate") {
    return InvalidArgument(
        fmt::format("long_prompts is '{}'; expected truncate or chunk", long_prompts));
  }
  if (emphasis == "a1111") {
    rules.emphasis = Emphasis::kA1111;
  } else if (!emphasis.empty() && emphasis != "none") {
    return InvalidArgument(fmt::format("emphasis is '{}'; expected none or a1111", emphasis));
  }
  return rules;
}

absl::StatusOr<SplicedPrompt> SplicePrompt(const Tokenizer& tokenizer, std::string_view prompt,
                                           const std::vector<LearnedWord>& words, int64_t positions,
                                           const PromptRules& rules) {
  ASSIGN_OR_RETURN(const Names names, NamesOf(words));
  if (positions < 3)
    return InvalidArgument(fmt::format("{} positions: expected at least 3", positions));
  std::vector<WeightedText> texts = {{std::string(prompt)}};
  if (rules.emphasis == Emphasis::kA1111) {
    ASSIGN_OR_RETURN_WITH(texts, ParseAttention(prompt),
                          fmt::format("the prompt '{}'", ShortenedPrompt(prompt)));
  }

  const bool truncate = rules.long_prompts == LongPrompts::kTruncate;
  Chunks chunks(tokenizer, static_cast<size_t>(positions));
  int64_t occurrences = 0, lost = 0;
  std::vector<Token> group;
  const auto put = [&] {
    if (!truncate) {
      chunks.PutOrBegin(group);
    } else if (lost == 0 && group.size() <= chunks.Room()) {
      chunks.Put(group);
    } else {
      lost += static_cast<int64_t>(group.size());
      return false;
    }
    return true;
  };
  for (const WeightedText& text : texts) {
    const auto weight = static_cast<float>(text.weight);
    if (text.begins_chunk) {
      if (truncate) {
        return InvalidArgument(
            fmt::format("the prompt '{}' has BREAK in it, which begins a new chunk, but long "
                        "prompts are truncated: set long_prompts to chunk, or leave BREAK out",
                        ShortenedPrompt(prompt)));
      }
      chunks.End();
    }
    for (const PromptPart& part : tokenizer.Split(text.text, names.names)) {
      if (part.word < 0) {
        for (const int64_t id : part.tokens) {
          group.assign(1, {id, -1, weight});
          put();
        }
        continue;
      }
      const auto index = static_cast<size_t>(part.word);
      const auto vectors = static_cast<size_t>(words[index].vectors);
      const bool too_long = truncate ? lost == 0 && occurrences == 0 && vectors > chunks.Room()
                                     : vectors > chunks.Capacity();
      if (too_long) {
        return InvalidArgument(fmt::format(
            "the prompt '{}' is too long: the {} vectors of '{}' would begin at token {}, and a "
            "{} has {}; {}use fewer vectors",
            ShortenedPrompt(prompt), vectors, words[index].name, truncate ? chunks.Filled() + 1 : 1,
            truncate ? "prompt" : "chunk", chunks.Capacity(),
            truncate ? "shorten what stands before it or " : ""));
      }
      group.clear();
      for (size_t i = 0; i < vectors; ++i)
        group.push_back({0, names.first_row[index] + static_cast<int64_t>(i), weight});
      if (put()) ++occurrences;
    }
  }
  SplicedPrompt spliced = chunks.Finish(truncate ? 1 : rules.min_chunks);
  spliced.occurrences = occurrences;
  spliced.lost = lost;
  return spliced;
}

absl::Status CheckWord(const Tokenizer& tokenizer, std::string_view word) {
  if (word.empty())
    return InvalidArgument("the word is empty: expected the word as it will stand in prompts");
  const std::string shown = ShortenedPrompt(ReplaceInvalidUtf8(word));
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
                                       const LearnedWord& word, int64_t positions,
                                       const PromptRules& rules) {
  if (prompts.empty()) return InvalidArgument("there are no prompts");
  PromptUse use;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto spliced = SplicePrompt(tokenizer, prompts[i], {word}, positions, rules);
    if (!spliced.ok())
      return Annotate(spliced.status(), fmt::format("prompt {} of {}", i + 1, prompts.size()));
    if (spliced->occurrences == 0) use.without_word.push_back(i);
    if (spliced->lost > 0) use.cut.push_back(i);
    use.most_lost = std::max(use.most_lost, spliced->lost);
    use.chunks = std::max(use.chunks, static_cast<int64_t>(spliced->input_ids.size()) / positions);
  }
  if (use.without_word.size() == prompts.size()) {
    return InvalidArgument(
        fmt::format("the word '{}' stands in none of the {} prompts (the first is '{}'), so "
                    "nothing would be learned: put it, or [name], where the prompts speak of it",
                    word.name, prompts.size(), ShortenedPrompt(prompts[0])));
  }
  return use;
}

}  // namespace neolog
