#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"
#include "coordinator/cli/context.h"
#include "coordinator/cli/inputs.h"

namespace neolog::cli {

/// A run file with its overrides, read and checked by itself.
struct RunFile {
  config::ConfigResult config;
};

/// Reads `file` with `--set` values, the process's NEOLOG_SET_ variables and the working directory.
RunFile ReadRunFile(Context& context, const std::string& file,
                    const std::vector<std::string>& settings, FileSystem& fs);

/// Prints every error with its place; kExitUsage.
ExitCode PrintConfigErrors(Context& context, const config::ConfigResult& config);

/// The real decoder and the state folder's cache of fingerprints.
InputDependencies RealDependencies(Context& context, FileSystem& fs);

}  // namespace neolog::cli
