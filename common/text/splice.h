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

/// A prompt as the text encoder takes it.
struct SplicedPrompt {
  /// T ids: start token, the prompt, end token, pad tokens. Under a slot the id is 0 and means
  /// nothing.
  std::vector<int64_t> input_ids;
  /// T slots: -1 keeps the ordinary token; r >= 0 is learned row r, counted through the words in
  /// their order.
  std::vector<int64_t> slots;
  /// Occurrences of words, each with all of its rows.
  int64_t occurrences = 0;
  /// Whether the end of the prompt did not fit and was left out.
  bool truncated = false;
};

/// Puts rows in the place of `words` (matched as Tokenizer::Split says, before byte-pair encoding)
/// and pads or truncates to `positions` (T, 77 for CLIP). As in diffusers, what does not fit
/// between the start and the end token is left out from the end; but a word is never cut: one whose
/// rows do not all fit is left out whole, with everything behind it. When that leaves out the first
/// word of a prompt, the prompt is useless for training: InvalidArgument.
absl::StatusOr<SplicedPrompt> SplicePrompt(const Tokenizer& tokenizer, std::string_view prompt,
                                           const std::vector<LearnedWord>& words,
                                           int64_t positions);

/// Whether a word may be learned, InvalidArgument with the reason and a proposal if not. It must be
/// 1 to 100 bytes of UTF-8 without white space, control characters and the characters that prompts
/// and file names use for other things,
/// ()[]{}:,|/\"; it must not contain the text of an added token (<|endoftext|>), and it must not
/// already be one token of the vocabulary: a prompt would mean the old word or the new one
/// depending on where it is read.
absl::Status CheckWord(const Tokenizer& tokenizer, std::string_view word);

/// How a set of prompts uses a word.
struct PromptUse {
  /// Indices of the prompts in which the word does not stand.
  std::vector<size_t> without_word;
};

/// Checks all prompts of a run (templates filled in). InvalidArgument when there are none, when the
/// word stands in none of them, or when one of them is too long for the word's rows; the message
/// names prompt and number.
absl::StatusOr<PromptUse> CheckPrompts(const Tokenizer& tokenizer,
                                       const std::vector<std::string>& prompts,
                                       const LearnedWord& word, int64_t positions);

}  // namespace neolog
