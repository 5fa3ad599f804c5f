#include "common/config/errors.h"

#include <algorithm>

#include "fmt/format.h"

namespace neolog::config {
namespace {

constexpr size_t kMaxExcerpt = 120;

std::string_view LineOf(std::string_view text, int line) {
  for (int i = 1; i < line; ++i) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  std::string_view found = text.substr(0, text.find('\n'));
  if (found.ends_with('\r')) found.remove_suffix(1);
  return found;
}

/// The text without control characters, which could move the cursor.
std::string Printable(std::string_view text) {
  std::string safe(text);
  std::replace_if(
      safe.begin(), safe.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return safe;
}

std::string WithoutPlace(const ConfigError& error) {
  std::string text =
      error.key.empty() ? error.problem : fmt::format("{}: {}", error.key, error.problem);
  if (!error.nearest.empty()) text += fmt::format("; did you mean {}?", error.nearest);
  return Printable(text);
}

std::string Excerpt(const Origin& origin, std::string_view text) {
  const std::string line = Printable(LineOf(text, origin.line));
  const size_t column = static_cast<size_t>(origin.column);
  if (line.empty() || line.size() > kMaxExcerpt || column == 0 || column > line.size() + 1)
    return "";
  return fmt::format("{:>6} | {}\n{:>6} | {:>{}}\n", origin.line, line, "", "^", column);
}

}  // namespace

std::string Origin::Text() const {
  switch (kind) {
    case Kind::kDefault: return "default";
    case Kind::kFile: return line > 0 ? fmt::format("{}:{}:{}", name, line, column) : name;
    default: return name;
  }
}

std::string ConfigError::Text() const {
  return fmt::format("{}: {}", Printable(origin.Text()), WithoutPlace(*this));
}

std::string FormatErrors(const std::vector<ConfigError>& errors, std::string_view text,
                         bool color) {
  std::string out;
  for (const ConfigError& error : errors) {
    if (color) {
      out += fmt::format("\x1b[1m{}:\x1b[0m \x1b[31m{}\x1b[0m\n", Printable(error.origin.Text()),
                         WithoutPlace(error));
    } else {
      out += error.Text() + "\n";
    }
    if (error.origin.kind == Origin::Kind::kFile && error.origin.line > 0)
      out += Excerpt(error.origin, text);
  }
  if (!errors.empty())
    out += errors.size() == 1 ? "1 error\n" : fmt::format("{} errors\n", errors.size());
  return out;
}

}  // namespace neolog::config
