#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace neolog {

/// A picture in memory.
struct Image {
  int width = 0;
  int height = 0;
  /// Rows from the top, pixels from the left, one byte each of red, green and blue (sRGB): height *
  /// width * 3 bytes.
  std::string rgb;

  bool operator==(const Image&) const = default;
};

/// Pictures with more pixels, or a longer side, are refused before they are decoded.
inline constexpr int64_t kMaxImagePixels = 100'000'000;
inline constexpr int kMaxImageSide = 32'768;
/// Files with more bytes are refused.
inline constexpr uint64_t kMaxImageBytes = 512ull << 20;

/// The format the bytes begin like, as people call it ("JPEG", "BMP", "SVG"); empty when none is
/// known. Looks at the first kilobyte only.
std::string SniffImageFormat(std::string_view bytes);

/// True for the formats DecodeImage takes: JPEG, PNG, WebP, TIFF, GIF, HEIC, AVIF.
bool IsReadableImageFormat(std::string_view format);

/// True for file names that end as pictures DecodeImage may take (.jpg, .jpeg, .png, .webp, .tif,
/// .tiff, .gif, .heic, .heif, .avif; capitals or not).
bool HasImageExtension(std::string_view file_name);

/// Decodes a picture: the first frame, turned upright by its EXIF orientation, converted to sRGB by
/// its ICC profile (left as it is when the profile is sRGB or broken), 16 bits cut to 8,
/// transparency laid over white. The same bytes give the same pixels on every machine with the same
/// libvips, libjpeg and lcms; safe from any thread.
///
/// InvalidArgument, beginning with `name` in quotes: empty, a format that is not read here (the
/// message names it and says to convert), damaged or cut off, too large.
absl::StatusOr<Image> DecodeImage(std::string_view bytes, std::string_view name);

/// The square that training takes: the largest centred one, resized to `size` by bicubic
/// interpolation as Pillow does it (resample.h), then mirrored left to right when `flip`. The bits
/// depend on nothing but the arguments. InvalidArgument when the picture is empty or `size` is not
/// from 1 to 8192. diffusers' script with center_crop gives the same pixels; A1111 crops beforehand
/// and resizes likewise.
absl::StatusOr<Image> PrepareSquare(const Image& image, int size, bool flip);

}  // namespace neolog
