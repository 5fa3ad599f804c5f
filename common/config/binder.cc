#include "common/config/binder.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "common/config/scalars.h"
#include "common/config/schema.h"
#include "common/storage/file_system.h"
#include "fmt/format.h"

namespace neolog::config {
namespace {

std::string Joined(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : fmt::format("{}.{}", prefix, name);
}

/// What a node is, for messages.
std::string Found(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull: return "found nothing";
    case YamlNode::Kind::kSequence: return "found a list";
    case YamlNode::Kind::kMap: return "found a map";
    default: return fmt::format("found '{}'", node.text);
  }
}

}  // namespace

std::string ResolvePath(std::string_view path, std::string_view base_directory,
                        std::string_view home) {
  if (path.empty()) return "";
  std::string absolute(path);
  if (!home.empty() && (path == "~" || path.starts_with("~/"))) {
    absolute = JoinPath(home, path == "~" ? "" : path.substr(2));
  } else if (path[0] != '/') {
    absolute = JoinPath(base_directory, path);
  }
  std::string normal = std::filesystem::path(absolute).lexically_normal().string();
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

void Binder::Error(Position position, std::string_view key, const Source& source,
                   std::string problem, std::string nearest) {
  Origin origin{.kind = source.kind, .name = source.name};
  if (source.kind == Origin::Kind::kFile) {
    origin.line = position.line;
    origin.column = position.column;
  }
  errors_->push_back({std::move(origin), std::string(key), std::move(problem), std::move(nearest)});
}

void Binder::Expected(const YamlNode& node, const Target& target, std::string_view found) {
  Error(node.position, target.key, target.source,
        fmt::format("expected {}, {}", ExpectedText(*target.field), found));
}

void Binder::BindDocument(const YamlNode& document, const Source& source) {
  if (document.kind == YamlNode::Kind::kNull) return;
  if (document.kind != YamlNode::Kind::kMap) {
    Error(document.position, "", source,
          fmt::format("expected settings as 'key: value' lines, {}", Found(document)));
    return;
  }
  BindMap(document, root_, "", source);
}

void Binder::BindMap(const YamlNode& map, Message* message, const std::string& prefix,
                     const Source& source) {
  const Descriptor& root = *root_->GetDescriptor();
  for (const YamlNode::Entry& entry : map.entries) {
    const std::string key = Joined(prefix, entry.key);
    const Field* field = message->GetDescriptor()->FindFieldByName(entry.key);
    if (field == nullptr || !IsUserSetting(*field)) {
      if (entry.key == "<<") {
        Error(entry.position, key, source,
              "merge keys are not part of YAML 1.2; write the settings out");
      } else {
        Error(entry.position, key, source, "unknown setting", NearestKey(root, prefix, entry.key));
      }
      continue;
    }
    const Target target{message, field, key, source};
    if (IsSection(*field)) {
      sections_[key] = {.kind = source.kind,
                        .name = source.name,
                        .line = entry.position.line,
                        .column = entry.position.column};
      BindSection(*entry.value, target);
    } else if (entry.value->kind == YamlNode::Kind::kNull) {
      Error(entry.position, key, source,
            fmt::format("expected {}, found nothing; give a value or remove the line",
                        ExpectedText(*field)));
      (*origins_)[key] = {.kind = source.kind,
                          .name = source.name,
                          .line = entry.position.line,
                          .column = entry.position.column};
    } else {
      BindValue(*entry.value, target);
    }
  }
}

void Binder::BindSection(const YamlNode& node, const Target& target) {
  const auto* reflection = target.message->GetReflection();
  if (node.kind == YamlNode::Kind::kNull) return;  // a section with all its lines commented out
  if (!target.field->is_repeated()) {
    if (node.kind != YamlNode::Kind::kMap) return Expected(node, target, Found(node));
    return BindMap(node, reflection->MutableMessage(target.message, target.field), target.key,
                   target.source);
  }
  const YamlNode* map = &node;
  if (node.kind == YamlNode::Kind::kSequence) {
    if (node.items.empty()) return;
    if (node.items.size() > 1) {
      Error(node.items[1]->position, target.key, target.source,
            fmt::format("expected exactly one in this version, found {}", node.items.size()));
    }
    map = node.items[0].get();
  }
  if (map->kind != YamlNode::Kind::kMap) return Expected(*map, target, Found(*map));
  if (reflection->FieldSize(*target.message, target.field) == 0)
    reflection->AddMessage(target.message, target.field);
  BindMap(*map, reflection->MutableRepeatedMessage(target.message, target.field, 0), target.key,
          target.source);
}

void Binder::BindValue(const YamlNode& node, const Target& target) {
  Origin origin{.kind = target.source.kind, .name = target.source.name};
  if (target.source.kind == Origin::Kind::kFile) {
    origin.line = node.position.line;
    origin.column = node.position.column;
  }
  (*origins_)[target.key] = origin;
  target.message->GetReflection()->ClearField(target.message, target.field);
  if (target.field->is_repeated() && node.kind == YamlNode::Kind::kSequence) {
    for (const auto& item : node.items) BindScalar(*item, target);
  } else {
    BindScalar(node, target);
  }
}

bool Binder::CheckRange(const YamlNode& node, const Target& target, double value) {
  const v1::Setting& setting = SettingOf(*target.field);
  if ((setting.has_min() && value < setting.min()) ||
      (setting.has_max() && value > setting.max())) {
    Expected(node, target, fmt::format("found {}", node.text));
    return false;
  }
  return true;
}

bool Binder::BindScalar(const YamlNode& node, const Target& target) {
  const auto* reflection = target.message->GetReflection();
  const Field& field = *target.field;
  const v1::Setting& setting = SettingOf(field);
  if (node.kind != YamlNode::Kind::kScalar) {
    Expected(node, target, Found(node));
    return false;
  }
  const bool text = field.cpp_type() == Field::CPPTYPE_STRING;
  if (!text && node.quoted) {
    Expected(node, target, fmt::format("found the text \"{}\"; leave the quotes out", node.text));
    return false;
  }
  switch (field.cpp_type()) {
    case Field::CPPTYPE_BOOL: {
      const auto value = ParseBool(node.text);
      if (!value.ok()) {
        Expected(node, target, ToStd(value.status().message()));
        return false;
      }
      reflection->SetBool(target.message, target.field, *value);
      return true;
    }
    case Field::CPPTYPE_UINT32:
    case Field::CPPTYPE_UINT64: {
      const auto value = ParseUnsigned(node.text);
      if (!value.ok()) {
        Expected(node, target, ToStd(value.status().message()));
        return false;
      }
      if (!CheckRange(node, target, static_cast<double>(*value))) return false;
      if (field.cpp_type() == Field::CPPTYPE_UINT64) {
        reflection->SetUInt64(target.message, target.field, *value);
      } else if (*value <= std::numeric_limits<uint32_t>::max()) {
        reflection->SetUInt32(target.message, target.field, static_cast<uint32_t>(*value));
      } else {
        Expected(node, target,
                 fmt::format("found {}; the largest is {}", node.text,
                             std::numeric_limits<uint32_t>::max()));
        return false;
      }
      return true;
    }
    case Field::CPPTYPE_DOUBLE: {
      const auto value = ParseNumber(node.text);
      if (!value.ok()) {
        Expected(node, target, ToStd(value.status().message()));
        return false;
      }
      if (!CheckRange(node, target, *value)) return false;
      reflection->SetDouble(target.message, target.field, *value);
      return true;
    }
    case Field::CPPTYPE_STRING: {
      if (setting.choices_size() > 0) {
        const std::vector<std::string> choices(setting.choices().begin(), setting.choices().end());
        if (std::find(choices.begin(), choices.end(), node.text) == choices.end()) {
          Error(node.position, target.key, target.source,
                fmt::format("expected {}, found '{}'", ExpectedText(field), node.text),
                NearestWord(choices, node.text));
          return false;
        }
      }
      if (setting.required() && node.text.empty()) {
        Error(node.position, target.key, target.source,
              fmt::format("expected {}, found an empty one", ExpectedText(field)));
        return false;
      }
      std::string value = node.text;
      if (setting.path())
        value = ResolvePath(value, target.source.base_directory, target.source.home);
      if (field.is_repeated()) {
        reflection->AddString(target.message, target.field, std::move(value));
      } else {
        reflection->SetString(target.message, target.field, std::move(value));
      }
      return true;
    }
    default:
      Error(node.position, target.key, target.source,
            "this kind of setting cannot be read from text");
      return false;
  }
}

void Binder::BindSetting(std::string_view key, std::string_view value, const Source& source) {
  const auto path = FindSetting(*root_->GetDescriptor(), key);
  if (!path) {
    const size_t dot = key.rfind('.');
    const std::string_view section = dot == std::string_view::npos ? "" : key.substr(0, dot);
    Error({}, key, source, "unknown setting",
          NearestKey(*root_->GetDescriptor(), section, key.substr(dot + 1)));
    return;
  }
  Message* message = root_;
  std::string dotted;
  for (const Field* field : *path) {
    dotted = Joined(dotted, field->name());
    if (field == path->back()) break;
    const auto* reflection = message->GetReflection();
    if (!field->is_repeated()) {
      message = reflection->MutableMessage(message, field);
    } else {
      if (reflection->FieldSize(*message, field) == 0) reflection->AddMessage(message, field);
      message = reflection->MutableRepeatedMessage(message, field, 0);
    }
  }
  const Field* field = path->back();
  const Target target{message, field, dotted, source};
  if (IsSection(*field)) {
    Error({}, dotted, source,
          fmt::format("this is a section; name a setting in it, for example {}.{}", dotted,
                      UserSettings(*field->message_type())[0]->name()));
    return;
  }
  const bool text = field->cpp_type() == Field::CPPTYPE_STRING;
  if (text && !(field->is_repeated() && value.starts_with('['))) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = std::string(value);
    return BindValue(node, target);
  }
  const YamlDocument document = ParseYaml(value);
  if (!document.problems.empty()) {
    Error({}, dotted, source,
          fmt::format("expected {}; {}", ExpectedText(*field), document.problems[0].message));
    return;
  }
  BindValue(*document.root, target);
}

void Binder::BindDefaults(const Source& source, const Origin& missing_at) {
  BindMissing(root_, "", source, missing_at);
}

void Binder::BindMissing(Message* message, const std::string& prefix, const Source& source,
                         Origin section_at) {
  const auto* reflection = message->GetReflection();
  for (const Field* field : UserSettings(*message->GetDescriptor())) {
    const v1::Setting& setting = SettingOf(*field);
    const std::string key = Joined(prefix, field->name());
    if (IsSection(*field)) {
      const auto found = sections_.find(key);
      const Origin at = found == sections_.end() ? section_at : found->second;
      if (!field->is_repeated()) {
        BindMissing(reflection->MutableMessage(message, field), key, source, at);
      } else {
        if (reflection->FieldSize(*message, field) == 0) reflection->AddMessage(message, field);
        BindMissing(reflection->MutableRepeatedMessage(message, field, 0), key, source, at);
      }
      continue;
    }
    if (origins_->count(key) > 0) continue;
    if (setting.required()) {
      std::string problem = fmt::format("is missing; expected {}", ExpectedText(*field));
      if (!setting.example().empty())
        problem += fmt::format(", for example '{}: {}'", field->name(), setting.example());
      errors_->push_back({section_at, key, std::move(problem), ""});
      continue;
    }
    (*origins_)[key] = {.kind = Origin::Kind::kDefault};
    if (setting.default_value().empty()) continue;
    BindSetting(key, setting.default_value(), source);
  }
}

}  // namespace neolog::config
