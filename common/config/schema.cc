#include "common/config/schema.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "fmt/format.h"

namespace neolog::config {
namespace {

char Fold(char c) {
  if (c == '-') return '_';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view LastName(std::string_view key) { return key.substr(key.rfind('.') + 1); }

std::string_view SectionOf(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : key.substr(0, dot);
}

// A set of the letters of `word`; a few letters share a bit.
uint64_t LettersOf(std::string_view word) {
  uint64_t letters = 0;
  for (const char c : word) letters |= uint64_t{1} << (Fold(c) & 63);
  return letters;
}

// The edit distance, where it is small enough for a slip of the hand.
std::optional<size_t> NearDistance(std::string_view a, std::string_view b) {
  const size_t shorter = std::min(a.size(), b.size()), longer = std::max(a.size(), b.size());
  const size_t limit = std::max<size_t>(1, longer / 3);
  if (longer - shorter > limit) return std::nullopt;  // as many letters are missing at least
  // A letter that only one of them has is an edit. A file of nonsense has many keys, and this is
  // what spares each of them a table for every setting.
  const uint64_t in_a = LettersOf(a), in_b = LettersOf(b);
  const int alone = std::max(std::popcount(in_a & ~in_b), std::popcount(in_b & ~in_a));
  if (static_cast<size_t>(alone) > limit) return std::nullopt;
  const size_t distance = EditDistance(a, b);
  if (distance > limit) return std::nullopt;
  return distance;
}

/// True when `part` is one of the words of `name`: "rate" of "learning_rate".
bool IsWordOf(std::string_view part, std::string_view name) {
  const auto same = [](char a, char b) { return Fold(a) == Fold(b); };
  while (!name.empty()) {
    const std::string_view word = name.substr(0, name.find('_'));
    if (std::equal(part.begin(), part.end(), word.begin(), word.end(), same)) return true;
    name.remove_prefix(std::min(word.size() + 1, name.size()));
  }
  return false;
}

void AddKeys(const Descriptor& message, const std::string& prefix, std::vector<std::string>* keys) {
  for (const FieldDescriptor* field : UserSettings(message)) {
    const std::string key = prefix.empty() ? field->name() : prefix + "." + field->name();
    keys->push_back(key);
    if (IsSection(*field)) AddKeys(*field->message_type(), key, keys);
  }
}

std::string RangeText(const FieldDescriptor& field, std::string_view what) {
  const v1::Setting& setting = SettingOf(field);
  const bool whole = field.cpp_type() != FieldDescriptor::CPPTYPE_DOUBLE;
  const std::string unit = setting.unit().empty() ? "" : fmt::format(" ({})", setting.unit());
  if (setting.has_max()) {
    return fmt::format("{} from {} to {}{}", what, setting.has_min() ? setting.min() : 0,
                       setting.max(), unit);
  }
  if (setting.has_min() || whole)
    return fmt::format("{}, {} or more{}", what, setting.has_min() ? setting.min() : 0, unit);
  return fmt::format("{}{}", what, unit);
}

std::string OneExpected(const FieldDescriptor& field) {
  const v1::Setting& setting = SettingOf(field);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: return "true or false";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: return RangeText(field, "a whole number");
    case FieldDescriptor::CPPTYPE_DOUBLE: return RangeText(field, "a number");
    case FieldDescriptor::CPPTYPE_MESSAGE: return "a map of settings";
    default:
      if (setting.choices_size() > 0) {
        return fmt::format("one of {}",
                           fmt::join(setting.choices().begin(), setting.choices().end(), ", "));
      }
      return setting.path() ? "a path" : "text";
  }
}

}  // namespace

const v1::Setting& SettingOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::setting);
}

bool IsUserSetting(const FieldDescriptor& field) {
  return field.options().HasExtension(v1::setting) && !SettingOf(field).internal();
}

bool IsSection(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

std::vector<const FieldDescriptor*> UserSettings(const Descriptor& message) {
  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < message.field_count(); ++i) {
    if (IsUserSetting(*message.field(i))) fields.push_back(message.field(i));
  }
  return fields;
}

std::optional<std::vector<const FieldDescriptor*>> FindSetting(const Descriptor& root,
                                                               std::string_view key) {
  std::vector<const FieldDescriptor*> path;
  const Descriptor* message = &root;
  for (;;) {
    const size_t dot = key.find('.');
    std::string_view name = key.substr(0, dot);
    const bool first = name.ends_with("[0]");
    if (first) name.remove_suffix(3);
    const FieldDescriptor* field =
        message == nullptr ? nullptr : message->FindFieldByName(std::string(name));
    if (field == nullptr || !IsUserSetting(*field) ||
        (first && !(field->is_repeated() && IsSection(*field)))) {
      return std::nullopt;
    }
    path.push_back(field);
    if (dot == std::string_view::npos) return path;
    message = IsSection(*field) ? field->message_type() : nullptr;
    key.remove_prefix(dot + 1);
  }
}

std::vector<std::string> AllKeys(const Descriptor& root) {
  std::vector<std::string> keys;
  AddKeys(root, "", &keys);
  return keys;
}

std::string ExpectedText(const FieldDescriptor& field) {
  const std::string one = OneExpected(field);
  if (!field.is_repeated() || IsSection(field)) return one;
  return fmt::format("a list, each item {}", one);
}

size_t EditDistance(std::string_view a, std::string_view b) {
  // Optimal string alignment: three rows of the usual table.
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = Fold(a[i - 1]) == Fold(b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && Fold(a[i - 1]) == Fold(b[j - 2]) && Fold(a[i - 2]) == Fold(b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

std::string NearestWord(const std::vector<std::string>& words, std::string_view word) {
  if (word.size() > 100) return "";
  std::string best;
  size_t best_distance = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : words) {
    const std::optional<size_t> distance = NearDistance(word, candidate);
    if (distance && *distance < best_distance) {
      best = candidate;
      best_distance = *distance;
    }
  }
  return best;
}

std::string NearestKey(const Descriptor& root, std::string_view section, std::string_view key) {
  if (key.size() > 100) return "";
  // Lower is better: a near name in the section, the same name elsewhere, a word of a name, a near
  // name elsewhere.
  std::string best;
  size_t best_score = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : AllKeys(root)) {
    const std::string_view name = LastName(candidate);
    const bool sibling = SectionOf(candidate) == section;
    const std::optional<size_t> distance = NearDistance(key, name);
    size_t score;
    if (sibling && distance) {
      score = *distance;
    } else if (distance == size_t{0}) {
      score = 100;
    } else if (IsWordOf(key, name)) {
      score = sibling ? 200 : 300;
    } else if (distance) {
      score = 400 + *distance;
    } else {
      continue;
    }
    if (score < best_score) {
      best = candidate;
      best_score = score;
    }
  }
  return best;
}

}  // namespace neolog::config
