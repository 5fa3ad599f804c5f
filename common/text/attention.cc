#include "common/text/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/text/unicode.h"

namespace neolog {
namespace {

constexpr double kRound = 1.1, kSquare = 1 / 1.1;
constexpr std::string_view kBreak = "BREAK";

/// What Python's regular expressions take for a part of a word; \w there has no marks.
bool IsPartOfAWord(char32_t c) { return c == U'_' || IsLetter(c) || IsNumber(c); }
/// \s there has the four separators of ASCII too.
bool IsSeparating(char32_t c) { return IsSpace(c) || (c >= 0x1c && c <= 0x1f); }

/// The length of ":1.2)" at the beginning of `text`, 0 when something else stands there.
size_t WeightLength(std::string_view text) {
  size_t pos = 1;
  if (pos < text.size() && (text[pos] == '+' || text[pos] == '-')) ++pos;
  const size_t end = text.find_first_not_of(".0123456789", pos);
  return end == pos || end == text.npos || text[end] != ')' ? 0 : end + 1;
}

/// The tensors that a weight multiplies are float32.
bool IsUsable(double weight) { return std::isfinite(static_cast<float>(weight)); }

/// The number in ":1.2)".
absl::StatusOr<double> WeightOf(std::string_view written) {
  std::string_view digits = written.substr(1, written.size() - 2);
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double weight = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), weight);
  if (error != std::errc() || end != digits.data() + digits.size() || !IsUsable(weight)) {
    return InvalidArgument(
        fmt::format("the weight '{}' in a prompt is not a number that can be used: expected one "
                    "such as (word:1.2); write \\( and \\) for brackets that belong to the text",
                    written.substr(1, written.size() - 2)));
  }
  return weight;
}

class Parser {
 public:
  absl::StatusOr<std::vector<WeightedText>> Parse(std::string_view prompt) {
    for (size_t pos = 0; pos < prompt.size();) {
      const std::string_view rest = prompt.substr(pos);
      size_t length = 1;
      switch (rest[0]) {
        case '\\':
          if (rest.size() > 1 && std::string_view("()[]\\").find(rest[1]) != rest.npos) length = 2;
          parts_.push_back({std::string(rest.substr(1, length - 1))});
          break;
        case '(': round_.push_back(parts_.size()); break;
        case '[': square_.push_back(parts_.size()); break;
        case ':':
          if (const size_t weight = WeightLength(rest); weight > 0) {
            length = weight;
            if (round_.empty()) {
              AddText(rest.substr(0, length));
            } else {
              ASSIGN_OR_RETURN(const double factor, WeightOf(rest.substr(0, length)));
              Close(round_, factor);
            }
          } else {
            AddText(rest.substr(0, 1));
          }
          break;
        case ')': CloseOrAdd(round_, kRound, rest.substr(0, 1)); break;
        case ']': CloseOrAdd(square_, kSquare, rest.substr(0, 1)); break;
        default:
          length = std::min(rest.find_first_of("\\()[]:"), rest.size());
          AddText(rest.substr(0, length));
      }
      pos += length;
    }
    // In this order, so that the products are those of the reference to the last bit.
    for (const size_t first : round_) Weigh(first, kRound);
    for (const size_t first : square_) Weigh(first, kSquare);
    return Joined();
  }

 private:
  void Weigh(size_t first, double factor) {
    for (size_t i = first; i < parts_.size(); ++i) parts_[i].weight *= factor;
  }
  void Close(std::vector<size_t>& open, double factor) {
    Weigh(open.back(), factor);
    open.pop_back();
  }

  void CloseOrAdd(std::vector<size_t>& open, double factor, std::string_view bracket) {
    if (open.empty()) return AddText(bracket);
    Close(open, factor);
  }

  /// Text without brackets, cut at every BREAK; the white space around one belongs to it.
  void AddText(std::string_view text) {
    bool begins_chunk = false;
    size_t start = 0;
    for (size_t pos = text.find(kBreak); pos != text.npos; pos = text.find(kBreak, pos + 1)) {
      size_t end = pos + kBreak.size();
      if (pos < start || WordTouches(text, pos, end)) continue;
      const std::string_view before = WithoutSpaceAtItsEnd(text.substr(start, pos - start));
      parts_.push_back({std::string(before), 1, begins_chunk});
      begins_chunk = true;
      start = SpaceEnd(text, end);
    }
    parts_.push_back({std::string(text.substr(start)), 1, begins_chunk});
  }

  static bool WordTouches(std::string_view text, size_t begin, size_t end) {
    return (begin > 0 && IsPartOfAWord(CodePointBefore(text, begin))) ||
           (end < text.size() && IsPartOfAWord(NextCodePoint(text, &end)));
  }
  static std::string_view WithoutSpaceAtItsEnd(std::string_view text) {
    size_t end = 0;
    for (size_t pos = 0; pos < text.size();) {
      if (!IsSeparating(NextCodePoint(text, &pos))) end = pos;
    }
    return text.substr(0, end);
  }
  static size_t SpaceEnd(std::string_view text, size_t pos) {
    for (size_t next = pos; next < text.size() && IsSeparating(NextCodePoint(text, &next));)
      pos = next;
    return pos;
  }

  absl::StatusOr<std::vector<WeightedText>> Joined() {
    std::vector<WeightedText> joined;
    for (WeightedText& part : parts_) {
      if (!IsUsable(part.weight)) {
        return InvalidArgument(fmt::format(
            "the brackets around '{}' multiply to the weight {}, which is beyond what a "
            "weight can be",
            part.text, part.weight));
      }
      if (!joined.empty() && !part.begins_chunk && joined.back().weight == part.weight) {
        joined.back().text += part.text;
      } else {
        joined.push_back(std::move(part));
      }
    }
    if (joined.empty()) joined.emplace_back();
    return joined;
  }

  std::vector<WeightedText> parts_;
  std::vector<size_t> round_, square_;  // where open brackets begin, as indices of parts_
};

}  // namespace

absl::StatusOr<std::vector<WeightedText>> ParseAttention(std::string_view prompt) {
  // What is not UTF-8 becomes U+FFFD here, as it would when it is encoded.
  return Parser().Parse(ReplaceInvalidUtf8(prompt));
}

}  // namespace neolog
