#include "common/rpc/version_check.h"

#include <fmt/format.h>

#include <algorithm>

namespace neolog {

absl::Status CheckVersion(std::string_view ours, std::string_view theirs, std::string_view who) {
  const size_t first = theirs.find('.');
  const size_t second = first == std::string_view::npos ? first : theirs.find('.', first + 1);
  const bool digits = std::all_of(theirs.begin(), theirs.end(),
                                  [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
  if (second == std::string_view::npos || !digits) {
    return InvalidArgument(
        fmt::format("{} gave the version '{}', which is not major.minor.patch", who, theirs));
  }
  const std::string_view series = theirs.substr(0, second + 1);
  if (!ours.starts_with(series)) {
    return FailedPrecondition(fmt::format(
        "{} is version {} and this program is version {}: use programs of one major.minor version "
        "(after an upgrade, stop the cluster with 'neolog down' and start it again)",
        who, theirs, ours));
  }
  return absl::OkStatus();
}

}  // namespace neolog
