#include "common/config/yaml_tree.h"

#include <utf8proc.h>

#include <algorithm>
#include <exception>
#include <map>
#include <sstream>
#include <utility>

#include "fmt/format.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace neolog::config {
namespace {

/// Ends reading; caught in ParseYaml, like yaml-cpp's own exceptions.
struct Refusal {
  YamlProblem problem;
};

Position ToPosition(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

/// Builds the tree from yaml-cpp's events. Its own node type is not used: it expands aliases
/// without limit, keeps duplicate keys and reads `no` as false.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const YamlLimits& limits, std::vector<YamlProblem>* problems)
      : limits_(limits), problems_(problems) {}

  std::shared_ptr<const YamlNode> root() const { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) {
      Refuse(ToPosition(mark),
             "a second document begins here; one file describes one run, so put it into a file of "
             "its own");
    }
    started_ = true;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Leaf(mark, anchor, "", false, YamlNode::Kind::kNull);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool text_tag = tag == "tag:yaml.org,2002:str";
    const bool quoted = tag == "!" || text_tag;
    if (!text_tag) CheckTag(mark, tag);
    const bool null = !quoted && (value.empty() || value == "~" || value == "null" ||
                                  value == "Null" || value == "NULL");
    Leaf(mark, anchor, value, quoted, null ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end() || found->second == nullptr) {
      Refuse(ToPosition(mark), "this alias stands inside the value that it names");
    }
    if (InKey()) Refuse(ToPosition(mark), "an alias cannot be a key");
    Charge(ToPosition(mark), found->second->expanded_nodes, found->second->expanded_bytes,
           static_cast<int>(stack_.size()) + found->second->height);
    Add(found->second);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;  // of a map: the next value belongs to `key`
    std::string key;
    Position key_position;
  };

  [[noreturn]] void Refuse(Position position, std::string message) {
    throw Refusal{{position, Path(), std::move(message)}};
  }

  void CheckTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    Refuse(ToPosition(mark), fmt::format("the tag '{}' has no meaning here; leave it out", tag));
  }

  bool InKey() const {
    return !stack_.empty() && stack_.back().node->kind == YamlNode::Kind::kMap &&
           !stack_.back().has_key;
  }

  std::string Path() const {
    std::string path;
    for (const Frame& frame : stack_) {
      if (!frame.has_key) continue;
      if (!path.empty()) path += '.';
      path += frame.key;
    }
    return path;
  }

  void Charge(Position position, size_t nodes, size_t bytes, int depth) {
    nodes_ += nodes;
    bytes_ += bytes;
    if (nodes_ > limits_.max_nodes) {
      Refuse(position,
             fmt::format("more than {} values, with aliases expanded", limits_.max_nodes));
    }
    if (bytes_ > limits_.max_expanded_bytes) {
      Refuse(position, fmt::format("more than {} bytes of text, with aliases expanded",
                                   limits_.max_expanded_bytes));
    }
    if (depth > limits_.max_depth)
      Refuse(position, fmt::format("nested more than {} deep", limits_.max_depth));
  }

  void Leaf(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& text, bool quoted,
            YamlNode::Kind kind) {
    const Position position = ToPosition(mark);
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        Refuse(position, "this text has a line break or another control character in it");
      }
    }
    if (InKey()) {
      if (kind == YamlNode::Kind::kNull && !quoted)
        Refuse(position, "a key is missing before this ':'");
      Frame& frame = stack_.back();
      frame.has_key = true;
      frame.key = text;
      frame.key_position = position;
      Charge(position, 0, text.size(), 0);
      return;
    }
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->position = position;
    node->text = text;
    node->quoted = quoted;
    node->expanded_bytes = text.size();
    Charge(position, 1, text.size(), static_cast<int>(stack_.size()) + 1);
    if (anchor != 0) anchors_[anchor] = node;
    Add(std::move(node));
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    CheckTag(mark, tag);
    if (InKey()) Refuse(ToPosition(mark), "a key must be a word, not a list or a map");
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->position = ToPosition(mark);
    Charge(node->position, 1, 0, static_cast<int>(stack_.size()) + 1);
    if (anchor != 0) anchors_[anchor] = nullptr;  // not to be used before it is complete
    stack_.push_back({.node = std::move(node), .anchor = anchor});
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.anchor != 0) anchors_[frame.anchor] = frame.node;
    Add(std::move(frame.node));
  }

  void Add(std::shared_ptr<const YamlNode> node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    YamlNode& parent = *stack_.back().node;
    parent.expanded_nodes += node->expanded_nodes;
    parent.expanded_bytes += node->expanded_bytes;
    parent.height = std::max(parent.height, node->height + 1);
    if (parent.kind == YamlNode::Kind::kSequence) {
      parent.items.push_back(std::move(node));
      return;
    }
    Frame& frame = stack_.back();
    const auto same =
        std::find_if(parent.entries.begin(), parent.entries.end(),
                     [&](const YamlNode::Entry& entry) { return entry.key == frame.key; });
    if (same != parent.entries.end()) {
      problems_->push_back(
          {frame.key_position, Path(),
           fmt::format("given twice, first on line {}; keep one of them", same->position.line)});
    } else {
      parent.entries.push_back({frame.key, frame.key_position, std::move(node)});
    }
    frame.has_key = false;
  }

  const YamlLimits limits_;
  std::vector<YamlProblem>* const problems_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, std::shared_ptr<const YamlNode>> anchors_;
  std::shared_ptr<const YamlNode> root_;
  size_t nodes_ = 0;
  size_t bytes_ = 0;
  bool started_ = false;
};

/// The first byte that is not UTF-8, or is a control character that YAML does not allow.
bool FindBadByte(std::string_view text, YamlProblem* problem) {
  Position at{1, 1};
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t code = -1;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + i,
                                         static_cast<utf8proc_ssize_t>(text.size() - i), &code);
    if (length <= 0) {
      *problem = {at, "", "this is not UTF-8; save the file as UTF-8"};
      return true;
    }
    if ((code < 0x20 && code != '\n' && code != '\r' && code != '\t') || code == 0x7f) {
      *problem = {at, "",
                  fmt::format("a control character (code {}) is not allowed in YAML", code)};
      return true;
    }
    i += static_cast<size_t>(length);
    if (code == '\n') {
      at = {at.line + 1, 1};
    } else {
      ++at.column;
    }
  }
  return false;
}

}  // namespace

YamlDocument ParseYaml(std::string_view text, const YamlLimits& limits) {
  YamlDocument document;
  if (text.size() > limits.max_bytes) {
    document.problems.push_back(
        {{},
         "",
         fmt::format("has {} bytes, more than the {} allowed", text.size(), limits.max_bytes)});
    return document;
  }
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (YamlProblem problem; FindBadByte(text, &problem)) {
    document.problems.push_back(std::move(problem));
    return document;
  }
  TreeBuilder builder(limits, &document.problems);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refusal& refusal) {
    document.problems.push_back(refusal.problem);
    return document;
  } catch (const YAML::Exception& error) {
    document.problems.push_back(
        {ToPosition(error.mark), "", fmt::format("not YAML: {}", error.msg)});
    return document;
  } catch (const std::exception& error) {
    document.problems.push_back({{}, "", fmt::format("not YAML: {}", error.what())});
    return document;
  }
  document.root = builder.root();
  if (document.root == nullptr) document.root = std::make_shared<YamlNode>();
  return document;
}

}  // namespace neolog::config
