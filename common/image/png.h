#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/image/image.h"

// PNG files with text in them: pictures carry the settings they were made with, as A1111's do. The
// texts stand before the pixels, in chunks of the PNG specification, third edition, §11.3.3: tEXt
// for ASCII, iTXt (UTF-8, not compressed) else. This file needs libpng only, and is a target of its
// own (neolog_common_png).

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

/// The pixels of a PNG file exactly as they stand there, for data that is hidden in them: no colour
/// management, transparency cut off, grey and palettes as red, green and blue, 16 bits cut to 8.
/// Pictures to look at are for DecodeImage. InvalidArgument, beginning with `name` in quotes: not a
/// PNG, damaged, or more than `max_pixels`, which is seen before anything is unpacked.
absl::StatusOr<Image> DecodePng(std::string_view bytes, std::string_view name, int64_t max_pixels);

}  // namespace neolog
