#include "coordinator/cli/run_file.h"

#include <filesystem>
#include <ostream>
#include <string_view>

#include "coordinator/cli/state_dir.h"

extern char** environ;

namespace neolog::cli {

RunFile ReadRunFile(Context& context, const std::string& file,
                    const std::vector<std::string>& settings, FileSystem& fs) {
  config::ConfigSources sources;
  sources.fs = &fs;
  sources.file = file;
  sources.sets = settings;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const size_t equals = variable.find('=');
    if (equals == std::string_view::npos || variable.rfind("NEOLOG_SET_", 0) != 0) continue;
    sources.environment.emplace(variable.substr(0, equals), variable.substr(equals + 1));
  }
  std::error_code error;
  sources.working_directory = std::filesystem::current_path(error).string();
  sources.home = context.env("HOME").value_or("");
  return {config::LoadRunSpec(sources)};
}

ExitCode PrintConfigErrors(Context& context, const config::ConfigResult& config) {
  context.console->EndRedraw();
  *context.console->options().err << config::FormatErrors(config.errors, config.text,
                                                          context.console->options().color_err)
                                  << std::flush;
  return kExitUsage;
}

InputDependencies RealDependencies(Context& context, FileSystem& fs) {
  InputDependencies dependencies;
  dependencies.fs = &fs;
  const auto dir = ResolveStateDir(context.env);
  if (dir.ok() && PrepareStateDir(*dir).ok()) dependencies.fingerprint_cache = dir->Fingerprints();
  return dependencies;
}

}  // namespace neolog::cli
