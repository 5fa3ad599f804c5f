#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/config/errors.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::config {

/// The settings as YAML that reads back to the same values: sections and settings in the proto's
/// order, without internal ones and without list settings that are empty. With `origins`
/// (ConfigResult), each value has a comment that says where it came from.
std::string ToYaml(const v1::RunSpec& spec, const std::map<std::string, Origin>* origins = nullptr);

/// The settings as JSON: the protobuf JSON of the spec with the proto's field names and every
/// value, without internal settings.
std::string ToJson(const v1::RunSpec& spec);

/// The spec without what the program fills in (uploads, fingerprints).
v1::RunSpec WithoutInternal(const v1::RunSpec& spec);

/// A text as a YAML scalar: plain where every reader takes it for the same text, else in double
/// quotes.
std::string YamlText(std::string_view text);

/// What `neolog config explain KEY` prints: the documentation, type, unit, range, default, example
/// and environment variable of a setting, or the list of a section's settings. NotFound with the
/// nearest key when there is no such setting.
absl::StatusOr<std::string> Explain(std::string_view key);

/// The whole reference: every section and setting, in order.
std::string ExplainAll();

}  // namespace neolog::config
