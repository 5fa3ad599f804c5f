#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/text/splice.h"
#include "common/text/tokenizer.h"
#include "coordinator/cli/commands.h"

namespace neolog::cli {
namespace {

constexpr int64_t kPositions = 77;  // of every CLIP text encoder

absl::StatusOr<std::vector<int64_t>> IdsOf(const Tokenizer& tokenizer, const std::string& prompt,
                                           const TokenizeOptions& options) {
  if (!options.padded) return tokenizer.Encode(prompt);
  ASSIGN_OR_RETURN(const PromptRules rules, PromptRulesOf(options.long_prompts, ""));
  ASSIGN_OR_RETURN(SplicedPrompt spliced, SplicePrompt(tokenizer, prompt, {}, kPositions, rules));
  return std::move(spliced.input_ids);
}

// A folder may be a tokenizer's alone.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& model) {
  std::error_code error;
  if (std::filesystem::is_directory(model, error)) return Tokenizer::FromFolder(model);
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(model, {}));
  ASSIGN_OR_RETURN(auto tokenizers, LoadTokenizers(checkpoint));
  return std::move(tokenizers.front());
}

}  // namespace

ExitCode TokenizeCommand(Context& context, const TokenizeOptions& options) {
  const auto tokenizer = LoadTokenizer(options.model);
  if (!tokenizer.ok()) return Fail(context, tokenizer.status(), kExitUsage);
  std::string line;
  while (std::getline(*context.console->options().in, line)) {
    const auto ids = IdsOf(**tokenizer, line, options);
    if (!ids.ok()) return Fail(context, ids.status(), kExitUsage);
    context.console->Print(fmt::format("[{}]\n", fmt::join(*ids, ", ")));
  }
  return kExitOk;
}

}  // namespace neolog::cli
