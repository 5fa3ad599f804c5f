#pragma once

#include "coordinator/cli/context.h"

namespace neolog::cli {

/// Reads the command line and runs the command. `context.console`, `clock`, `env` and `self_path`
/// are set; the rest comes from the command line and the environment. Returns the process's exit
/// code: see exit_code.h.
int RunApp(int argc, const char* const* argv, Context context);

}  // namespace neolog::cli
