#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/config/errors.h"
#include "common/config/yaml_tree.h"

namespace neolog::config {

/// Writes YAML into a message by reflection, by the rules of its `setting` options. Collects every
/// error instead of stopping at the first. Knows no field by name.
class Binder {
 public:
  /// What the values of one source have in common.
  struct Source {
    Origin::Kind kind = Origin::Kind::kFile;
    std::string name;
    /// Where relative paths start; absolute.
    std::string base_directory;
    /// What "~/" stands for; empty: nothing.
    std::string home;
  };

  /// All must outlive the binder.
  Binder(google::protobuf::Message* root, std::vector<ConfigError>* errors,
         std::map<std::string, Origin>* origins)
      : root_(root), errors_(errors), origins_(origins) {}

  /// A whole document into the root.
  void BindDocument(const YamlNode& document, const Source& source);
  /// One setting from a flag or variable: text settings take `value` as it is, others read it as
  /// YAML.
  void BindSetting(std::string_view key, std::string_view value, const Source& source);
  /// The defaults of everything that has no origin yet, and an error for what is required and
  /// missing. `missing_at` is where such errors point when the section is not in the file either.
  void BindDefaults(const Source& source, const Origin& missing_at);

 private:
  using Message = google::protobuf::Message;
  using Field = google::protobuf::FieldDescriptor;

  /// A value on its way into a field.
  struct Target {
    Message* message;
    const Field* field;
    const std::string& key;
    const Source& source;
  };

  void BindMap(const YamlNode& map, Message* message, const std::string& prefix,
               const Source& source);
  void BindSection(const YamlNode& node, const Target& target);
  void BindValue(const YamlNode& node, const Target& target);
  bool BindScalar(const YamlNode& node, const Target& target);
  void BindMissing(Message* message, const std::string& prefix, const Source& source,
                   Origin section_at);
  bool CheckRange(const YamlNode& node, const Target& target, double value);
  void Expected(const YamlNode& node, const Target& target, std::string_view found);
  void Error(Position position, std::string_view key, const Source& source, std::string problem,
             std::string nearest = "");

  Message* const root_;
  std::vector<ConfigError>* const errors_;
  std::map<std::string, Origin>* const origins_;
  std::map<std::string, Origin> sections_;  // sections that the file has -> their keys' places
};

/// An absolute path without "." and "..", by the rules in config.h. Empty stays empty.
std::string ResolvePath(std::string_view path, std::string_view base_directory,
                        std::string_view home);

}  // namespace neolog::config
