#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// A stretch of a prompt and how strongly its tokens count.
struct WeightedText {
  std::string text;
  double weight = 1;
  /// Whether BREAK stands before it: it begins a new chunk.
  bool begins_chunk = false;

  bool operator==(const WeightedText&) const = default;
};

/// A1111's attention syntax, read as its parse_prompt_attention does: (a) weighs a by 1.1, [a] by
/// 1 / 1.1, (a:1.3) by 1.3; nested brackets multiply; a bracket that is never closed reaches to the
/// end; one that closes nothing is text; a backslash makes the bracket or backslash behind it text;
/// BREAK as a word of its own begins a new chunk. Neighbours of equal weight are put together; the
/// result has at least one part, which may be empty. Any bytes will do.
///
/// Two differences: BREAK inside brackets is a break too (there, it is the word "BREAK" with a
/// negative weight), and a weight is written in ASCII digits. Prompt editing ([a:b:0.5], [a|b]) and
/// AND are not part of this syntax: they stay text, under the weight of their brackets.
///
/// InvalidArgument, naming the weight, where it has the form of one ("(a:1.2.3)") but is no number,
/// or it or the product of nested ones is beyond float32.
absl::StatusOr<std::vector<WeightedText>> ParseAttention(std::string_view prompt);

}  // namespace neolog
