#include <iostream>
#include <string>

#include "common/text/tokenizer.h"
#include "coordinator/cli/commands.h"

namespace neolog::cli {

ExitCode TokenizeCommand(Context& context, const TokenizeOptions& options) {
  const auto tokenizer = Tokenizer::FromFolder(options.model);
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
