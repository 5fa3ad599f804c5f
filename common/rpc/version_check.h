#pragma once

#include <string_view>

#include "common/base/status.h"

namespace neolog {

/// OK when both versions are of one major.minor: programs of another major.minor refuse each other.
/// FailedPrecondition names both versions and what to do; InvalidArgument when `theirs` is not
/// major.minor.patch. `who` is the other side in words, for example "the coordinator".
absl::Status CheckVersion(std::string_view ours, std::string_view theirs, std::string_view who);

}  // namespace neolog
