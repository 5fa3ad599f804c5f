#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/text/splice.h"
#include "common/text/tokenizer.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::dataset {

/// A prompt as the text encoder takes it, and its text.
struct EncodedPrompt {
  std::string text;
  /// T ids and slots, as SplicedPrompt explains them.
  std::vector<int64_t> ids;
  std::vector<int64_t> slots;
};

/// Splices the word's rows into `text`; an empty `word.name` means no word: then every token is an
/// ordinary one. Errors as SplicePrompt.
absl::StatusOr<EncodedPrompt> EncodePrompt(const Tokenizer& tokenizer, std::string_view text,
                                           const LearnedWord& word, int64_t positions);

/// The prompts of a run, each encoded once, when it is first asked for. One thread.
class Prompts {
 public:
  /// `tokenizer` must outlive the object. InvalidArgument when the run has no prompts, the word
  /// stands in none of them (nothing would be learned), or one is too long for the word's rows.
  static absl::StatusOr<Prompts> Create(const v1::RunSpec& spec, const Tokenizer& tokenizer,
                                        int64_t positions);

  /// Template `prompt` filled in for picture `image`, or the picture's caption when the run has no
  /// templates.
  const EncodedPrompt& Of(uint32_t prompt, uint32_t image);

  /// Any text with the run's word, for previews.
  absl::StatusOr<EncodedPrompt> Encode(std::string_view text) const;

 private:
  Prompts(const v1::RunSpec& spec, const Tokenizer& tokenizer, int64_t positions)
      : spec_(spec),
        word_{spec.word(0).name(), spec.word(0).vectors()},
        tokenizer_(&tokenizer),
        positions_(positions) {}

  std::string TextOf(uint32_t prompt, uint32_t image) const;

  v1::RunSpec spec_;
  LearnedWord word_;
  const Tokenizer* tokenizer_;
  int64_t positions_;
  std::map<std::pair<uint32_t, uint32_t>, EncodedPrompt> encoded_;
};

/// Ids of init_text without start and end token: what the rows start from.
std::vector<int64_t> InitialTokens(const Tokenizer& tokenizer, std::string_view text);

}  // namespace neolog::dataset
