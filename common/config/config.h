#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/errors.h"
#include "common/storage/file_system.h"
#include "neolog/v1/run_spec.pb.h"

// How a run's settings are read.
//
// Precedence: `--set key=value` > environment > file > default. A value that loses is checked all
// the same.
//
// The file is one YAML document of maps, at most 256 KiB, 16 levels deep and 10,000 values with
// aliases expanded. Stricter than YAML: only true and false are booleans (`no` is text), numbers
// are decimal without leading zeros (`010` is refused), quoted numbers are text, keys stand once,
// tags and merge keys (`<<`) are refused. A setting that takes text takes a plain value as it is
// written (`name: 007` is "007"). A single map is accepted for `word`, a single value for a list.
//
// The environment: NEOLOG_SET_TRAINING__STEPS sets training.steps; dots are two underscores.
//
// Relative paths in the file, and relative default paths, start at the file's folder; those of
// `--set` and the environment at the working directory. All become absolute; `~/` is the home
// directory.
//
// Internal settings (`internal` in the proto) cannot be set by anybody: they are unknown keys here.

namespace neolog::config {

/// Where settings come from. Nothing else is read.
struct ConfigSources {
  /// Reads the file and looks at the paths it names; must outlive the call.
  FileSystem* fs = nullptr;
  /// The YAML file, as it was typed. Empty: there is none.
  std::string file;
  /// `key=value`, in order; a later one wins.
  std::vector<std::string> sets;
  /// The environment; only names that begin with NEOLOG_SET_ matter.
  std::map<std::string, std::string> environment;
  /// Absolute.
  std::string working_directory = "/";
  /// What `~` stands for; empty: nothing.
  std::string home;
  /// Whether folders and files that settings name must exist.
  bool check_files = true;
};

/// What was read. With errors, `spec` holds whatever was right, for showing only.
struct ConfigResult {
  v1::RunSpec spec;
  /// In the order of the file, then flags and environment. Empty: the spec is complete and
  /// consistent.
  std::vector<ConfigError> errors;
  /// Dotted key of a setting ("word.name" for the word's) -> where its value came from.
  std::map<std::string, Origin> origins;
  /// The file's text, for excerpts.
  std::string text;

  bool ok() const { return errors.empty(); }
  /// An error about the value of `key`, at the place it came from: for checks that only a caller
  /// can do (pictures that do not decode, a word that is in the vocabulary).
  ConfigError ErrorAt(std::string_view key, std::string_view problem) const;
};

/// Reads, overrides, fills in defaults and checks. Never fails otherwise than through `errors`.
ConfigResult LoadRunSpec(const ConfigSources& sources);

/// "NEOLOG_SET_TRAINING__STEPS" for "training.steps".
std::string EnvironmentName(std::string_view key);

}  // namespace neolog::config
