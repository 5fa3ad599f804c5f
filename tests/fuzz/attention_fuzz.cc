// Any bytes as a prompt in A1111's attention syntax.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/text/attention.h"
#include "common/text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parts = neolog::ParseAttention(text);
  if (!parts.ok()) {
    if (parts.status().message().find("weight") == parts.status().message().npos) std::abort();
    return 0;
  }
  if (parts->empty() || parts->front().begins_chunk) std::abort();
  std::string joined;
  for (size_t i = 0; i < parts->size(); ++i) {
    const neolog::WeightedText& part = (*parts)[i];
    if (!std::isfinite(static_cast<float>(part.weight)) || !neolog::IsValidUtf8(part.text))
      std::abort();
    // What has one weight is one part.
    if (i > 0 && !part.begins_chunk && (*parts)[i - 1].weight == part.weight) std::abort();
    joined += part.text;
  }
  // The parts hold the prompt's characters in their order, less those of the syntax.
  const std::string valid = neolog::ReplaceInvalidUtf8(text);
  size_t at = 0;
  for (const char c : joined) {
    at = valid.find(c, at);
    if (at == valid.npos) std::abort();
    ++at;
  }
  // Without brackets, colons, backslashes and breaks, nothing is syntax.
  if (valid.find_first_of("()[]:\\") == valid.npos && valid.find("BREAK") == valid.npos &&
      (parts->size() != 1 || parts->front() != neolog::WeightedText{valid})) {
    std::abort();
  }
  // A prompt whose every bracket and backslash is escaped is that text.
  std::string escaped;
  for (const char c : valid) {
    if (std::string_view("()[]\\").find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  const auto plain = neolog::ParseAttention(escaped);
  if (!plain.ok()) std::abort();
  if (valid.find("BREAK") == valid.npos &&
      (plain->size() != 1 || plain->front() != neolog::WeightedText{valid})) {
    std::abort();
  }
  return 0;
}
