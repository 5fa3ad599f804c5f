#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

namespace neolog {

/// Sets up logging to standard error, for the whole process; call once from main.
/// `program` stands in every line; `level` is trace, debug, info, warn, error or off (anything
/// else: info); `json` writes one JSON object a line.
void InitLogging(std::string_view program, std::string_view level, bool json);

}  // namespace neolog
