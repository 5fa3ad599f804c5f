#include <filesystem>
#include <iostream>
#include <string>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/text/tokenizer.h"
#include "coordinator/cli/commands.h"

namespace neolog::cli {
namespace {

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
    std::string ids = "[";
    for (const int64_t id : (*tokenizer)->Encode(line)) {
      if (ids.size() > 1) ids += ", ";
      ids += std::to_string(id);
    }
    context.console->Print(ids + "]\n");
  }
  return kExitOk;
}

}  // namespace neolog::cli
