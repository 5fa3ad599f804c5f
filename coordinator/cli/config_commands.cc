#include <fmt/format.h>

#include "common/config/settings_text.h"
#include "common/storage/posix_file_system.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/run_file.h"

namespace neolog::cli {

ExitCode ConfigValidateCommand(Context& context, const ConfigOptions& options) {
  const auto fs = MakePosixFileSystem();
  RunFile run_file = ReadRunFile(context, options.file, options.settings, *fs);
  InputDependencies dependencies = RealDependencies(context, *fs);
  dependencies.check_log_dir = false;  // a file stays valid after it was trained
  const Inputs inputs = CheckInputs(run_file.config, dependencies);
  if (!run_file.config.ok()) return PrintConfigErrors(context, run_file.config);
  for (const std::string& warning : inputs.warnings) context.console->Warn(warning);
  context.console->Print(fmt::format("{} is valid: '{}' from {} pictures, {} steps\n", options.file,
                                     run_file.config.spec.word(0).name(),
                                     run_file.config.spec.data().samples_size(),
                                     run_file.config.spec.training().steps()));
  return kExitOk;
}

ExitCode ConfigShowCommand(Context& context, const ConfigOptions& options) {
  const auto fs = MakePosixFileSystem();
  const RunFile run_file = ReadRunFile(context, options.file, options.settings, *fs);
  context.console->Print(
      config::ToYaml(run_file.config.spec, options.origin ? &run_file.config.origins : nullptr));
  return run_file.config.ok() ? kExitOk : PrintConfigErrors(context, run_file.config);
}

ExitCode ConfigExplainCommand(Context& context, const std::string& key) {
  if (key.empty()) {
    context.console->Print(config::ExplainAll());
    return kExitOk;
  }
  const auto text = config::Explain(key);
  if (!text.ok()) return Fail(context, text.status(), kExitUsage);
  context.console->Print(*text);
  return kExitOk;
}

}  // namespace neolog::cli
