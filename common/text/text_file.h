#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// All bytes of a regular file. NotFound names the path; InvalidArgument when it is longer than
/// `max_bytes` or not a file.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, size_t max_bytes);

/// The lines of a text, without their \n or \r\n and without a byte order mark. A last line without
/// a newline counts.
std::vector<std::string_view> SplitLines(std::string_view text);

/// The contents of a gzip file. DataLoss when it is damaged, cut, or would be longer than
/// `max_bytes`.
absl::StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes);

}  // namespace neolog
