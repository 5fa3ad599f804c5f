#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace neolog::config {

/// A place in a text, counted from 1; line 0 means no place.
struct Position {
  int line = 0;
  int column = 0;
};

/// One value of a YAML document, with its place. Aliases are shared nodes.
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  struct Entry {
    std::string key;
    Position position;  // of the key
    std::shared_ptr<const YamlNode> value;
  };

  Kind kind = Kind::kNull;
  Position position;
  /// Of a scalar: its text, and whether it stood in quotes (then it is text whatever it looks
  /// like).
  std::string text;
  bool quoted = false;
  std::vector<std::shared_ptr<const YamlNode>> items;  // of a sequence
  std::vector<Entry> entries;                          // of a map, in order, each key once

  // What the node costs with its aliases expanded.
  size_t expanded_nodes = 1;
  size_t expanded_bytes = 0;
  int height = 1;
};

/// What a document may cost: more is refused while it is read.
struct YamlLimits {
  size_t max_bytes = 256 << 10;
  /// Values, with aliases expanded.
  size_t max_nodes = 10'000;
  /// Bytes of all texts, with aliases expanded.
  size_t max_expanded_bytes = 4 << 20;
  int max_depth = 16;
};

/// Something wrong with the document itself.
struct YamlProblem {
  Position position;
  /// The dotted key it is about; empty when it is about none.
  std::string key;
  std::string message;
};

/// A document. `root` is null when it cannot be read at all; a document without content has a null
/// node as root. With duplicate keys there is a root, holding the first of each, and a problem for
/// every other.
struct YamlDocument {
  std::shared_ptr<const YamlNode> root;
  std::vector<YamlProblem> problems;
};

/// Reads one YAML document: UTF-8 without control characters, string keys, no tags but `!!str`, no
/// second document, no alias within its own anchor. Never throws.
YamlDocument ParseYaml(std::string_view text, const YamlLimits& limits = {});

}  // namespace neolog::config
