#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/text/tokenizer.h"

namespace neolog {

/// A word that stands for learned rows instead of tokens.
struct LearnedWord {
  std::string name;
  /// K: how many rows, at least 1.
  int64_t vectors = 1;
};

/// What becomes of a prompt with more tokens than the text encoder has positions.
enum class LongPrompts {
  /// Its end is left out, as in diffusers.
  kTruncate,
  /// It is encoded in chunks, as in A1111.
  kChunk,
};

/// What brackets in a prompt mean.
enum class Emphasis {
  /// Nothing: they are text.
  kNone,
  /// What ParseAttention says.
  kA1111,
};

/// How prompts are read.
struct PromptRules {
  LongPrompts long_prompts = LongPrompts::kTruncate;
  Emphasis emphasis = Emphasis::kNone;
  /// With kChunk: a prompt of fewer chunks is filled up to this many with empty ones.
  int64_t min_chunks = 1;
};

/// The rules by the names that settings have for them, "truncate" or "chunk" and "none" or "a1111";
/// an empty name means the first. InvalidArgument for another one.
absl::StatusOr<PromptRules> PromptRulesOf(std::string_view long_prompts, std::string_view emphasis);

/// A prompt as the text encoder takes it: one chunk, or several side by side.
struct SplicedPrompt {
  /// In each chunk of T ids: start token, a part of the prompt, end token, pad tokens. Under a slot
  /// the id is 0 and means nothing.
  std::vector<int64_t> input_ids;
  /// As many slots: -1 keeps the ordinary token; r >= 0 is learned row r, counted through the words
  /// in their order.
  std::vector<int64_t> slots;
  /// As many weights, 1 for start, end and pad tokens; empty where all are 1.
  std::vector<float> weights;
  /// Occurrences of words, each with all of its rows.
  int64_t occurrences = 0;
  /// How many tokens at the prompt's end were left out, a word's rows counted as tokens.
  int64_t lost = 0;
};

/// Puts rows in the place of `words` (matched as Tokenizer::Split says, before byte-pair encoding)
/// and pads to `positions` (T, 77 for CLIP), of which a prompt or a chunk of it fills T - 2.
///
/// kTruncate: as in diffusers, what does not fit between the start and the end token is left out
/// from the end; but a word is never cut: one whose rows do not all fit is left out whole, with
/// everything behind it. When that leaves out the first word of a prompt, the prompt is useless for
/// training: InvalidArgument. BREAK under kA1111 asks for a second chunk: InvalidArgument.
///
/// kChunk: nothing is left out. As in A1111, a new chunk begins where the one before is full, at
/// BREAK (under kA1111), and before a word whose rows do not all fit into what is left. A chunk
/// that a comma ends within the last 20 tokens is cut behind that comma instead of in the middle of
/// a phrase, unless a word or BREAK ended it before it was full. (A1111 leaves a word's rows behind
/// when it moves the phrase they stand in; here they move with it.) InvalidArgument for a word of
/// more than T - 2 vectors.
absl::StatusOr<SplicedPrompt> SplicePrompt(const Tokenizer& tokenizer, std::string_view prompt,
                                           const std::vector<LearnedWord>& words, int64_t positions,
                                           const PromptRules& rules = {});

/// Whether a word may be learned, InvalidArgument with the reason and a proposal if not. It must be
/// 1 to 100 bytes of UTF-8 without white space, control characters and the characters that prompts
/// and file names use for other things,
/// ()[]{}:,|/\"; it must not contain the text of an added token (<|endoftext|>), and it must not
/// already be one token of the vocabulary: a prompt would mean the old word or the new one
/// depending on where it is read.
absl::Status CheckWord(const Tokenizer& tokenizer, std::string_view word);

/// The first part of a prompt, for messages: at most 80 bytes.
std::string ShortenedPrompt(std::string_view prompt);

/// How a set of prompts uses a word.
struct PromptUse {
  /// Indices of the prompts in which the word does not stand.
  std::vector<size_t> without_word;
  /// Indices of the prompts whose end is left out, and the most tokens that one of them loses.
  std::vector<size_t> cut;
  int64_t most_lost = 0;
  /// The most chunks that a prompt has.
  int64_t chunks = 1;
};

/// Checks all prompts of a run (templates filled in). InvalidArgument when there are none, when the
/// word stands in none of them, or when one of them is too long for the word's rows; the message
/// names prompt and number.
absl::StatusOr<PromptUse> CheckPrompts(const Tokenizer& tokenizer,
                                       const std::vector<std::string>& prompts,
                                       const LearnedWord& word, int64_t positions,
                                       const PromptRules& rules = {});

}  // namespace neolog
