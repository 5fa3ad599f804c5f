#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "worker/diffusion/model.h"

namespace neolog::diffusion {

/// Adds what every command that loads a model asks for: --model (required), --vae, --prediction,
/// --device and --dtype. `path` and `options` must live until the arguments are parsed; what they
/// hold is the default.
void AddModelArguments(CLI::App& app, std::string* path, ModelOptions* options);

}  // namespace neolog::diffusion
