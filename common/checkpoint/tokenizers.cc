#include "common/checkpoint/tokenizers.h"

#include <fmt/format.h>

namespace neolog {
namespace {

absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const TokenizerSource& source,
                                                const std::string& path) {
  switch (source.kind) {
    case TokenizerSource::Kind::kFolder: return Tokenizer::FromFolder(source.folder);
    case TokenizerSource::Kind::kClip: {
      ASSIGN_OR_RETURN(const std::string merges, Tokenizer::FindMergesFile());
      return Tokenizer::FromMergesFile(merges, source.pads_with_end ? "<|endoftext|>" : "!");
    }
    case TokenizerSource::Kind::kNone: break;
  }
  return NotFound(fmt::format("'{}' has no tokenizer: expected vocab.json and merges.txt in '{}'",
                              path, source.folder));
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Tokenizer>>> LoadTokenizers(
    const Checkpoint& checkpoint) {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (size_t i = 0; i < checkpoint.tokenizers.size(); ++i) {
    ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                     Load(checkpoint.tokenizers[i], checkpoint.path));
    const int64_t tokens = checkpoint.clips[i].vocab_size;
    if (tokenizer->vocabulary_size() > tokens) {
      return InvalidArgument(
          fmt::format("'{}': the text encoder has {} tokens, but its tokenizer {}{}",
                      checkpoint.path, tokens, tokenizer->vocabulary_size(),
                      checkpoint.single_file ? " (a single file is taken to have CLIP's)" : ""));
    }
    tokenizers.push_back(std::move(tokenizer));
  }
  return tokenizers;
}

}  // namespace neolog
