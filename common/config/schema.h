#pragma once

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "neolog/v1/options.pb.h"

// The settings of a message, as its `setting` options describe them.

namespace neolog::config {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

/// The field's documentation and limits; empty when it has none.
const v1::Setting& SettingOf(const FieldDescriptor& field);

/// True for fields that people may set: documented, not internal.
bool IsUserSetting(const FieldDescriptor& field);

/// True for fields that hold settings rather than a value.
bool IsSection(const FieldDescriptor& field);

/// The fields of a message that people may set, in their order.
std::vector<const FieldDescriptor*> UserSettings(const Descriptor& message);

/// The fields from the root to a setting: {training, steps} for "training.steps". "word[0].name"
/// and "word.name" are the same. Nothing when there is no such setting for people.
std::optional<std::vector<const FieldDescriptor*>> FindSetting(const Descriptor& root,
                                                               std::string_view key);

/// Every dotted key for people, in order; sections come before their settings.
std::vector<std::string> AllKeys(const Descriptor& root);

/// What a value of the field must be, for messages: "a whole number from 1 to 75", "one of fp32,
/// bf16", "true or false".
std::string ExpectedText(const FieldDescriptor& field);

/// The key that was probably meant by `key`, which stands in the section `section` (dotted; "" at
/// the top): a near one in that section, else the same or nearly the same name elsewhere. Empty
/// when none is near.
std::string NearestKey(const Descriptor& root, std::string_view section, std::string_view key);

/// The nearest of `words`; empty when none is near.
std::string NearestWord(const std::vector<std::string>& words, std::string_view word);

/// Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`. '-' counts as
/// '_', capitals as small.
size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace neolog::config
