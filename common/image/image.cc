#include "common/image/image.h"

#include <algorithm>

#include "common/image/resample.h"
#include "fmt/format.h"

namespace neolog {
namespace {

constexpr int kMaxSquare = 8192;

/// ISO base media files: a box size, "ftyp", the brand.
std::string MediaBrand(std::string_view bytes) {
  if (bytes.size() < 12 || bytes.substr(4, 4) != "ftyp") return "";
  const std::string_view brand = bytes.substr(8, 4);
  if (brand == "avif" || brand == "avis") return "AVIF";
  for (const std::string_view heif :
       {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"}) {
    if (brand == heif) return "HEIC";
  }
  return "video";
}

}  // namespace

std::string SniffImageFormat(std::string_view bytes) {
  using namespace std::string_view_literals;
  const std::pair<std::string_view, const char*> kMagic[] = {
      {"\xff\xd8\xff"sv, "JPEG"},
      {"\x89PNG\r\n\x1a\n"sv, "PNG"},
      {"GIF8"sv, "GIF"},
      {"II*\0"sv, "TIFF"},
      {"MM\0*"sv, "TIFF"},
      {"II+\0"sv, "TIFF"},
      {"MM\0+"sv, "TIFF"},
      {"BM"sv, "BMP"},
      {"\xff\x0a"sv, "JPEG XL"},
      {"\0\0\0\x0cJXL "sv, "JPEG XL"},
      {"\0\0\0\x0cjP  "sv, "JPEG 2000"},
      {"\xff\x4f\xff\x51"sv, "JPEG 2000"},
      {"8BPS"sv, "Photoshop"},
      {"%PDF"sv, "PDF"},
      {"\0\0\1\0"sv, "ICO"},
      {"v/1\1"sv, "OpenEXR"},
      {"#?RADIANCE"sv, "Radiance HDR"},
      {"DDS "sv, "DDS"},
      {"PK\3\4"sv, "ZIP"},
      {"version https://git-lfs"sv, "Git LFS pointer"},
  };
  for (const auto& [magic, name] : kMagic) {
    if (bytes.starts_with(magic)) return name;
  }
  if (bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP")
    return "WebP";
  if (bytes.size() >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
      std::string_view(" \t\r\n#").find(bytes[2]) != std::string_view::npos) {
    return "PNM";
  }
  if (std::string brand = MediaBrand(bytes); !brand.empty()) return brand;
  const std::string_view head = bytes.substr(0, 1024);
  if (head.find("<svg") != std::string_view::npos) return "SVG";
  if (head.find("<html") != std::string_view::npos ||
      head.find("<!DOCTYPE html") != std::string_view::npos)
    return "HTML";
  return "";
}

bool IsReadableImageFormat(std::string_view format) {
  for (const std::string_view readable : {"JPEG", "PNG", "WebP", "TIFF", "GIF", "HEIC", "AVIF"}) {
    if (format == readable) return true;
  }
  return false;
}

bool HasImageExtension(std::string_view file_name) {
  const size_t dot = file_name.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return false;
  std::string ending(file_name.substr(dot + 1));
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const std::string_view known :
       {"jpg", "jpeg", "png", "webp", "tif", "tiff", "gif", "heic", "heif", "avif"}) {
    if (ending == known) return true;
  }
  return false;
}

absl::StatusOr<Image> PrepareSquare(const Image& image, int size, bool flip) {
  if (image.width < 1 || image.height < 1 ||
      image.rgb.size() != size_t{3} * image.width * image.height) {
    return InvalidArgument(fmt::format("a picture of {} x {} cannot have {} bytes", image.width,
                                       image.height, image.rgb.size()));
  }
  if (size < 1 || size > kMaxSquare) {
    return InvalidArgument(
        fmt::format("expected a side from 1 to {} pixels, found {}", kMaxSquare, size));
  }
  const int side = std::min(image.width, image.height);
  const int left = (image.width - side) / 2;
  const int top = (image.height - side) / 2;
  Image square{.width = side, .height = side};
  square.rgb.reserve(size_t{3} * side * side);
  for (int y = top; y < top + side; ++y) {
    square.rgb.append(image.rgb, size_t{3} * (static_cast<size_t>(y) * image.width + left),
                      size_t{3} * side);
  }
  square = ResizeBicubic(square, size, size);
  if (flip) {
    for (int y = 0; y < size; ++y) {
      char* row = square.rgb.data() + size_t{3} * y * size;
      for (int x = 0; x < size / 2; ++x)
        std::swap_ranges(row + 3 * x, row + 3 * x + 3, row + 3 * (size - 1 - x));
    }
  }
  return square;
}

}  // namespace neolog
