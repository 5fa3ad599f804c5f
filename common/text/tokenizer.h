#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/text/bpe.h"

namespace neolog {

/// A tokenizer's files, as bytes. `vocab_json` and `merges_txt` are required; the others may be
/// absent.
struct TokenizerFiles {
  std::string vocab_json;
  std::string merges_txt;
  std::optional<std::string> tokenizer_config_json;
  std::optional<std::string> special_tokens_map_json;
  std::optional<std::string> added_tokens_json;
};

/// A stretch of a prompt: a learned word, or the tokens of the text between words.
struct PromptPart {
  /// Index into the words that were looked for, or -1 for tokens.
  int word = -1;
  std::vector<int64_t> tokens;
};

/// CLIP's tokenizer, with the ids of transformers 4.57's CLIPTokenizerFast without ftfy: NFC, white
/// space, lower case; the texts of added tokens (special or not) become those tokens; words, single
/// digits and punctuation runs are cut apart and byte-pair encoded. Text that is not UTF-8 is read
/// as Python's decode(errors="replace") reads it: each maximal ill-formed part is U+FFFD. Prompts
/// are neither padded nor truncated. Immutable; safe for use from any thread.
class Tokenizer {
 public:
  /// From vocab.json, merges.txt and, where they are, tokenizer_config.json,
  /// special_tokens_map.json and added_tokens.json in `path`, or in `path`/tokenizer (so a
  /// diffusers folder will do). NotFound, InvalidArgument and DataLoss name the file.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFolder(const std::string& path);
  /// From CLIP's own merges file, bpe_simple_vocab_16e6.txt.gz, which defines the 49,408 tokens of
  /// SD 1, SD 2 and SDXL. Prompts are filled up with `pad`: "<|endoftext|>" for SD 1 and SDXL's
  /// first encoder, "!" (id 0) for SD 2 and SDXL's second, whose published tokenizers name it so.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromMergesFile(
      const std::string& path, std::string_view pad = "<|endoftext|>");
  /// Where that file lies: what NEOLOG_CLIP_MERGES names, else ../share/neolog beside this program
  /// (where the build puts it), else below NEOLOG_DEPS_DIR (clip/). NotFound says where was looked.
  static absl::StatusOr<std::string> FindMergesFile();
  /// From the files' bytes; `name` is for messages.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFiles(const TokenizerFiles& files,
                                                              std::string_view name);

  /// The prompt's ids, between the start and the end token.
  std::vector<int64_t> Encode(std::string_view text) const;

  /// The prompt cut at the learned `words`, in order; no start or end token, no empty parts. A word
  /// matches whatever the case and the normalisation form. Where it begins (ends) with a letter,
  /// mark, digit or underscore, none of these may stand before (behind) it: "zesko" is found in
  /// "zesko's", "(Zesko)" and "zesko-like", not in "zeskos" or "a_zesko". Of several matches at one
  /// place the longest counts. Words must be valid UTF-8 and not empty.
  std::vector<PromptPart> Split(std::string_view text, const std::vector<std::string>& words) const;

  /// The text as it is compared and encoded: NFC, runs of white space as one space, lower case.
  static std::string Normalize(std::string_view text);
  /// Whether the text of an added token (<|endoftext|>) stands in `text`, whatever its case.
  bool ContainsAddedToken(std::string_view text) const;

  int64_t start_token() const { return start_token_; }
  int64_t end_token() const { return end_token_; }
  /// What fills a prompt up: the end token for SD 1, 0 for SD 2.
  int64_t pad_token() const { return pad_token_; }
  /// One more than the largest id.
  int64_t vocabulary_size() const { return vocabulary_size_; }
  /// The id of a token by its text in the vocabulary or among the added tokens, "cat</w>" or
  /// "<|endoftext|>".
  std::optional<int64_t> FindToken(std::string_view token) const;
  /// Every token's text, as FindToken takes it, by id; empty where an id has none.
  std::vector<std::string> TokenTexts() const;

 private:
  struct AddedToken {
    std::string content;
    int64_t id = 0;
    bool normalized = true;    // looked for in the normalised text, else in the text as given
    bool single_word = false;  // only where no word character touches it
  };
  struct Loader;

  Tokenizer(Bpe bpe, std::vector<AddedToken> added);
  void SplitNormalized(const std::string& text, const std::vector<std::string>& words,
                       std::vector<PromptPart>* parts) const;
  void EncodeText(std::string_view text, std::vector<int64_t>* ids) const;

  Bpe bpe_;
  std::vector<AddedToken> raw_;         // normalized == false
  std::vector<AddedToken> normalized_;  // contents normalised
  int64_t start_token_ = 0;
  int64_t end_token_ = 0;
  int64_t pad_token_ = 0;
  int64_t vocabulary_size_ = 0;
};

}  // namespace neolog
