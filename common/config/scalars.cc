#include "common/config/scalars.h"

#include <charconv>
#include <cmath>
#include <string>

#include "fmt/format.h"

namespace neolog::config {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Why `text` is no decimal number although people may take it for one; empty when it simply is
/// none.
std::string NumberSurprise(std::string_view text) {
  std::string_view digits = text;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) digits.remove_prefix(1);
  if (digits.empty() || !IsDigit(digits[0])) return "";
  if (digits.size() > 1 && digits[0] == '0' &&
      (digits[1] == 'x' || digits[1] == 'X' || digits[1] == 'o' || digits[1] == 'b')) {
    return "numbers are decimal here";
  }
  if (digits.find_first_of("_,'") != std::string_view::npos)
    return "write the number without separators";
  if (digits.size() > 1 && digits[0] == '0' && IsDigit(digits[1])) {
    const size_t significant = std::min(digits.find_first_not_of('0'), digits.size() - 1);
    return fmt::format("some programs read a leading zero as octal; write {}",
                       digits.substr(significant));
  }
  return "";
}

absl::Status Refused(std::string_view text) {
  const std::string surprise = NumberSurprise(text);
  return InvalidArgument(surprise.empty() ? fmt::format("found '{}'", text)
                                          : fmt::format("found '{}': {}", text, surprise));
}

/// True for [-+]?(0|[1-9][0-9]*)
bool IsInteger(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  return text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// True for [-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)? with a digit before the exponent.
bool IsNumber(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  size_t whole = 0;
  while (whole < text.size() && IsDigit(text[whole])) ++whole;
  if (whole > 1 && text[0] == '0') return false;
  text.remove_prefix(whole);
  size_t fraction = 0;
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    while (fraction < text.size() && IsDigit(text[fraction])) ++fraction;
    text.remove_prefix(fraction);
  }
  if (whole + fraction == 0) return false;
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

absl::StatusOr<bool> ParseBool(std::string_view text) {
  for (const std::string_view word : {"true", "True", "TRUE"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"false", "False", "FALSE"}) {
    if (text == word) return false;
  }
  return InvalidArgument(fmt::format("found '{}'", text));
}

absl::StatusOr<uint64_t> ParseUnsigned(std::string_view text) {
  if (!IsInteger(text)) {
    if (const auto number = ParseNumber(text);
        number.ok() && *number >= 0 && *number < 1e15 && std::floor(*number) == *number) {
      return InvalidArgument(
          fmt::format("found '{}': write {}", text, static_cast<uint64_t>(*number)));
    }
    return Refused(text);
  }
  std::string_view digits = text;
  if (digits[0] == '+') digits.remove_prefix(1);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return InvalidArgument(
        fmt::format("found {}{}", text, text[0] == '-' ? "" : ", which is too large"));
  }
  return value;
}

absl::StatusOr<double> ParseNumber(std::string_view text) {
  if (!IsNumber(text)) return Refused(text);
  std::string_view digits = text;
  if (digits[0] == '+') digits.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range)
    return InvalidArgument(fmt::format("found {}, which no double holds", text));
  if (error != std::errc() || end != digits.data() + digits.size()) return Refused(text);
  return value;
}

}  // namespace neolog::config
