#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace neolog::config {

/// Where a value came from.
struct Origin {
  enum class Kind { kDefault, kFile, kEnvironment, kFlag };
  Kind kind = Kind::kDefault;
  /// The file as it was typed; "--set"; the variable's name; empty for defaults.
  std::string name;
  /// Of the value in the file, from 1; 0 elsewhere.
  int line = 0;
  int column = 0;

  /// "run.yaml:12:3", "--set", "NEOLOG_SET_…" or "default".
  std::string Text() const;
};

/// One thing wrong with the settings.
struct ConfigError {
  Origin origin;
  /// The dotted key; empty when the error is about no single setting.
  std::string key;
  /// What is wrong, what was expected and what to do, without place or key.
  std::string problem;
  /// The key or word that was probably meant; empty when none is near.
  std::string nearest;

  /// One line: "run.yaml:12:3: training.stesp: unknown setting; did you mean training.steps?"
  std::string Text() const;
};

/// All errors for a terminal: one line each, under it the line of the file with the place marked,
/// and a last line with their number. `text` is the file's text; `color` marks places and keys with
/// ANSI colours.
std::string FormatErrors(const std::vector<ConfigError>& errors, std::string_view text, bool color);

}  // namespace neolog::config
