#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace neolog {

/// Base64 of RFC 4648, section 4, with padding.
std::string EncodeBase64(std::string_view bytes);

/// The bytes; line breaks are skipped. Nothing when a character, the length or the padding does not
/// belong.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace neolog
