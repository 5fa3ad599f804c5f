#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace neolog::cli {

/// The candidate that `typed` was most likely meant to be: the fewest insertions, deletions,
/// replacements and swaps of neighbours, at most a third of the longer word (and at least one); a
/// prefix of two letters or more counts as near. Empty when nothing is near.
std::string Nearest(std::string_view typed, const std::vector<std::string>& candidates);

}  // namespace neolog::cli
