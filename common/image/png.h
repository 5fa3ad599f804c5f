#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/image/image.h"

// PNG files with text in them: pictures carry the settings they were made with, as A1111's do. The
// texts stand before the pixels, in chunks of the PNG specification, third edition, §11.3.3: tEXt
// for ASCII, iTXt (UTF-8, not compressed) else.

namespace neolog {

/// Keyword and text of one chunk.
using PngText = std::vector<std::pair<std::string, std::string>>;

/// The picture as a PNG file, with `text` in its order. InvalidArgument when the picture is empty
/// or its bytes do not fit its size, and for keywords that are not 1 to 79 ASCII characters without
/// spaces at their ends.
absl::StatusOr<std::string> EncodePng(const Image& image, const PngText& text);

/// Every tEXt, zTXt and iTXt chunk of a PNG file, in order, as UTF-8. The pixels are not decoded.
/// At most 1,000 chunks of text and 16 MiB of it, unpacked. InvalidArgument, beginning with `name`
/// in quotes and with the offset: not a PNG, cut off, a checksum that does not fit, over the
/// limits.
absl::StatusOr<PngText> ReadPngText(std::string_view bytes, std::string_view name);

}  // namespace neolog
