#include "common/config/settings_text.h"

#include <google/protobuf/util/json_util.h>

#include <vector>

#include "common/config/config.h"
#include "common/config/schema.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace neolog::config {
namespace {

using google::protobuf::Message;

/// True when every YAML reader, old or new, takes the plain text for a string.
bool IsPlainSafe(std::string_view text) {
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/";
  if (text.empty() || kLetters.find(text[0]) == std::string_view::npos) return false;
  for (const char c : text) {
    if (kLetters.find(c) == std::string_view::npos &&
        std::string_view("0123456789.-").find(c) == std::string_view::npos) {
      return false;
    }
  }
  for (const std::string_view word :
       {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}) {
    if (EditDistance(text, word) == 0) return false;
  }
  return true;
}

std::string ScalarText(const Message& message, const FieldDescriptor& field, int index) {
  const auto* reflection = message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return fmt::format("{}", reflection->GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return fmt::format("{}", reflection->GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return fmt::format("{}", reflection->GetDouble(message, &field));
    default:
      return YamlText(index < 0 ? reflection->GetString(message, &field)
                                : reflection->GetRepeatedString(message, &field, index));
  }
}

std::string ValueText(const Message& message, const FieldDescriptor& field) {
  if (!field.is_repeated()) return ScalarText(message, field, -1);
  std::vector<std::string> items;
  const int size = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < size; ++i) items.push_back(ScalarText(message, field, i));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

void AppendYaml(const Message& message, const std::string& prefix, const std::string& indent,
                const std::map<std::string, Origin>* origins, std::string* out) {
  const auto* reflection = message.GetReflection();
  for (const FieldDescriptor* field : UserSettings(*message.GetDescriptor())) {
    const std::string key = prefix.empty() ? field->name() : prefix + "." + field->name();
    if (IsSection(*field)) {
      if (!field->is_repeated()) {
        if (!reflection->HasField(message, field)) continue;
        *out += fmt::format("{}{}:\n", indent, field->name());
        AppendYaml(reflection->GetMessage(message, field), key, indent + "  ", origins, out);
      } else if (reflection->FieldSize(message, field) > 0) {
        *out += fmt::format("{}{}:\n", indent, field->name());
        AppendYaml(reflection->GetRepeatedMessage(message, field, 0), key, indent + "  ", origins,
                   out);
      }
      continue;
    }
    if (field->is_repeated() && reflection->FieldSize(message, field) == 0) continue;
    *out += fmt::format("{}{}: {}", indent, field->name(), ValueText(message, *field));
    if (origins != nullptr) {
      if (const auto origin = origins->find(key); origin != origins->end())
        *out += "  # " + origin->second.Text();
    }
    *out += '\n';
  }
}

void ClearInternal(Message* message) {
  const auto* reflection = message->GetReflection();
  const Descriptor& descriptor = *message->GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* field = descriptor.field(i);
    if (!IsUserSetting(*field)) {
      reflection->ClearField(message, field);
    } else if (IsSection(*field)) {
      for (int j = 0; field->is_repeated() && j < reflection->FieldSize(*message, field); ++j) {
        ClearInternal(reflection->MutableRepeatedMessage(message, field, j));
      }
      if (!field->is_repeated() && reflection->HasField(*message, field)) {
        ClearInternal(reflection->MutableMessage(message, field));
      }
    }
  }
}

/// Always printing fields prints empty internal ones too.
void EraseInternal(const Descriptor& message, nlohmann::ordered_json* json) {
  if (json->is_array()) {
    for (auto& item : *json) EraseInternal(message, &item);
    return;
  }
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const auto found = json->find(field.name());
    if (found == json->end()) continue;
    if (!IsUserSetting(field)) {
      json->erase(found);
    } else if (IsSection(field)) {
      EraseInternal(*field.message_type(), &*found);
    }
  }
}

std::string ExplainField(std::string_view key, const FieldDescriptor& field) {
  const v1::Setting& setting = SettingOf(field);
  std::string text = fmt::format("{}\n  {}\n", key, setting.doc());
  if (IsSection(field)) {
    text += "  settings:\n";
    for (const FieldDescriptor* child : UserSettings(*field.message_type()))
      text += fmt::format("    {}.{}\n", key, child->name());
    return text;
  }
  text += fmt::format("  value:       {}\n", ExpectedText(field));
  if (setting.path()) text += "  relative:    to the folder of the YAML file\n";
  if (setting.required()) text += "  required\n";
  if (!setting.default_value().empty())
    text += fmt::format("  default:     {}\n", setting.default_value());
  if (!setting.example().empty()) text += fmt::format("  example:     {}\n", setting.example());
  text += fmt::format("  environment: {}\n", EnvironmentName(key));
  return text;
}

}  // namespace

std::string YamlText(std::string_view text) {
  if (IsPlainSafe(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string ToYaml(const v1::RunSpec& spec, const std::map<std::string, Origin>* origins) {
  std::string out;
  AppendYaml(spec, "", "", origins, &out);
  return out;
}

v1::RunSpec WithoutInternal(const v1::RunSpec& spec) {
  v1::RunSpec copy = spec;
  ClearInternal(&copy);
  return copy;
}

std::string ToJson(const v1::RunSpec& spec) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  // Cannot fail for a message of known fields.
  (void)google::protobuf::util::MessageToJsonString(WithoutInternal(spec), &text, options);
  auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  EraseInternal(*v1::RunSpec::descriptor(), &json);
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

absl::StatusOr<std::string> Explain(std::string_view key) {
  const Descriptor& root = *v1::RunSpec::descriptor();
  const auto path = FindSetting(root, key);
  if (path) {
    std::string dotted;
    for (const FieldDescriptor* field : *path)
      dotted += (dotted.empty() ? "" : ".") + field->name();
    return ExplainField(dotted, *path->back());
  }
  const size_t dot = key.rfind('.');
  const std::string nearest = NearestKey(
      root, dot == std::string_view::npos ? "" : key.substr(0, dot), key.substr(dot + 1));
  return NotFound(nearest.empty()
                      ? fmt::format("there is no setting '{}'", key)
                      : fmt::format("there is no setting '{}'; did you mean {}?", key, nearest));
}

std::string ExplainAll() {
  std::string text;
  const Descriptor& root = *v1::RunSpec::descriptor();
  for (const std::string& key : AllKeys(root)) {
    if (!text.empty()) text += '\n';
    text += ExplainField(key, *FindSetting(root, key)->back());
  }
  return text;
}

}  // namespace neolog::config
