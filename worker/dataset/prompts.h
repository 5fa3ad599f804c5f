#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/text/splice.h"
#include "common/text/tokenizer.h"
#include "neolog/v1/run_spec.pb.h"
#include "worker/diffusion/model.h"

namespace neolog::dataset {

/// A model's tokenizers, one a text encoder: SDXL's two have one vocabulary, but fill prompts up
/// with different tokens (neolog::LoadTokenizers makes them).
using Tokenizers = std::vector<std::unique_ptr<Tokenizer>>;

/// A prompt as one text encoder takes it: ids, slots and weights, as SplicedPrompt explains them.
struct EncodedText {
  std::vector<int64_t> ids;
  std::vector<int64_t> slots;
  std::vector<float> weights;
};

/// A prompt as each text encoder takes it, and its text. All encoders have it in equally many
/// chunks; one whose tokenizer finds fewer is filled up with empty ones.
struct EncodedPrompt {
  std::string text;
  std::vector<EncodedText> encoders;
};

/// Splices the word's rows into `text`; an empty `word.name` means no word: then every token is an
/// ordinary one. Errors as SplicePrompt.
absl::StatusOr<EncodedPrompt> EncodePrompt(const Tokenizers& tokenizers, std::string_view text,
                                           const LearnedWord& word, int64_t positions,
                                           const PromptRules& rules = {});

/// What a picture is drawn from.
struct PicturePrompts {
  EncodedPrompt prompt;
  EncodedPrompt negative;
};

/// A prompt and its negative prompt with equally many chunks: the one that has fewer is filled up
/// with empty ones. Errors as SplicePrompt.
absl::StatusOr<PicturePrompts> EncodePicturePrompts(const Tokenizers& tokenizers,
                                                    std::string_view prompt,
                                                    std::string_view negative,
                                                    const LearnedWord& word, int64_t positions,
                                                    const PromptRules& rules = {});

/// `prompts`, one a sample, as the text encoders of a model with `widths` read them. All have
/// equally many chunks. `flat_rows` [F] or [B, F] holds every encoder's rows
/// (diffusion::RowBlocks).
std::vector<diffusion::TextInput> TextInputsOf(const std::vector<const EncodedPrompt*>& prompts,
                                               const at::Tensor& flat_rows,
                                               const std::vector<int64_t>& widths);

/// The prompts of a run, each encoded once, when it is first asked for. All have as many chunks as
/// the longest of them, so that the shape of a microbatch does not depend on the samples that meet
/// in it. One thread.
class Prompts {
 public:
  /// `tokenizers` must outlive the object. InvalidArgument when the run has no prompts, the word
  /// stands in none of them (nothing would be learned), or one is too long for the word's rows.
  static absl::StatusOr<Prompts> Create(const v1::RunSpec& spec, const Tokenizers& tokenizers,
                                        int64_t positions);

  /// Template `prompt` filled in for picture `image`, or the picture's caption when the run has no
  /// templates.
  const EncodedPrompt& Of(uint32_t prompt, uint32_t image);

  /// The run's preview `index` with its negative prompt, read with preview.emphasis; of as many
  /// chunks as these two need. Errors as SplicePrompt.
  absl::StatusOr<PicturePrompts> OfPreview(uint32_t index) const;

 private:
  Prompts(const v1::RunSpec& spec, const Tokenizers& tokenizers, int64_t positions,
          const PromptRules& rules)
      : spec_(spec),
        word_{spec.word(0).name(), spec.word(0).vectors()},
        tokenizers_(&tokenizers),
        positions_(positions),
        rules_(rules) {}

  std::string TextOf(uint32_t prompt, uint32_t image) const;

  v1::RunSpec spec_;
  LearnedWord word_;
  const Tokenizers* tokenizers_;
  int64_t positions_;
  PromptRules rules_;
  std::map<std::pair<uint32_t, uint32_t>, EncodedPrompt> encoded_;
};

/// Ids of init_text without start and end token: what the rows start from.
std::vector<int64_t> InitialTokens(const Tokenizer& tokenizer, std::string_view text);

}  // namespace neolog::dataset
