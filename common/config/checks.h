#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/storage/file_system.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::config {

/// Receives what is wrong: the dotted key, the problem, and the word that was probably meant (or
/// "").
using Report = std::function<void(std::string_view key, std::string problem, std::string nearest)>;

/// What a single setting's limits cannot say: names, learning rates, settings that need or exclude
/// each other. `readable` tells whether a key was read without an error: checks that need it are
/// left out otherwise.
void CheckConsistency(const v1::RunSpec& spec,
                      const std::function<bool(std::string_view)>& readable, const Report& report);

/// That the folders and files which settings name are there and are what they should be.
void CheckFiles(const v1::RunSpec& spec, FileSystem& fs, const Report& report);

/// Empty when `name` can be a word, else why not. A word has 1 to 64 bytes, without white space,
/// control characters and the characters that prompts give a meaning: ( ) [ ] { } : | \ , / and
/// quotes.
std::string WordNameProblem(std::string_view name);

}  // namespace neolog::config
