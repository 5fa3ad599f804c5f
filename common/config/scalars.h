#pragma once

#include <cstdint>
#include <string_view>

#include "common/base/status.h"

// What a plain scalar means, by YAML 1.2's core schema made stricter. yaml-cpp reads `no` as false,
// `010` as 8 and `0x1F` as 31; other programs read other things, so what two programs may read
// differently is refused with the way to write it.
//
//   booleans   true, false (also True, TRUE, False, FALSE); nothing else: yes, no, on and off are
//   text integers   [-+]?(0|[1-9][0-9]*): decimal, without leading zeros, underscores or exponent
//   numbers    an integer, or with a fraction, an exponent or both: 0.5, .5, 5., 1e-8; finite
//   null       nothing, ~, null, Null, NULL

namespace neolog::config {

/// The value, or InvalidArgument with why not as the whole message.
absl::StatusOr<bool> ParseBool(std::string_view text);
absl::StatusOr<uint64_t> ParseUnsigned(std::string_view text);
absl::StatusOr<double> ParseNumber(std::string_view text);

}  // namespace neolog::config
