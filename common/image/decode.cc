// DecodeImage, on libvips' C interface.
#include <vips/vips.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "common/image/image.h"
#include "fmt/format.h"

namespace neolog {
namespace {

struct Unref {
  void operator()(VipsImage* image) const { g_object_unref(image); }
};
using Vips = std::unique_ptr<VipsImage, Unref>;

/// libvips, started once for the whole process; false when it could not.
bool StartVips() {
  static const bool started = [] {
    if (vips_init("neolog") != 0) return false;
    // What libvips itself marks as not hardened against hostile files (ImageMagick's formats, PDF,
    // SVG, JPEG XL, …).
    vips_block_untrusted_set(TRUE);
    vips_concurrency_set(1);  // pictures are decoded side by side by our own threads
    vips_cache_set_max(0);    // each picture is read once
    // Remarks on odd but readable files would go to standard error.
    g_log_set_handler(
        "VIPS",
        static_cast<GLogLevelFlags>(G_LOG_LEVEL_WARNING | G_LOG_LEVEL_INFO | G_LOG_LEVEL_MESSAGE),
        [](const gchar*, GLogLevelFlags, const gchar*, gpointer) {}, nullptr);
    return true;
  }();
  return started;
}

/// libvips' last error on one line. The buffer belongs to the whole process, so beside a failure on
/// another thread the text may be that one's; nothing is decided by it.
std::string VipsError() {
  char* copy = vips_error_buffer_copy();
  std::string text(copy);
  g_free(copy);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ';');
  return text;
}

absl::Status Damaged(std::string_view name, std::string_view format) {
  return InvalidArgument(
      fmt::format("'{}': this {} file is damaged or cut off ({})", name, format, VipsError()));
}

/// Takes the result of a libvips operation. `out` is a reference because the operation, an argument
/// too, may run later.
bool Take(int code, VipsImage*& out, Vips* image) {
  if (code != 0) return false;
  image->reset(out);
  return true;
}

bool ProfileIsSrgb(VipsImage* image) {
  const void* data = nullptr;
  size_t size = 0;
  if (vips_image_get_blob(image, VIPS_META_ICC_NAME, &data, &size) != 0) return false;
  using namespace std::string_view_literals;
  const std::string_view profile(static_cast<const char*>(data), size);
  return profile.find("sRGB") != std::string_view::npos ||
         profile.find("s\0R\0G\0B"sv) != std::string_view::npos;
}

/// 8 bits of sRGB in three bands, from colour bands without alpha.
bool ToSrgb(Vips* image) {
  const bool profile = vips_image_get_typeof(image->get(), VIPS_META_ICC_NAME) != 0;
  const bool cmyk = vips_image_guess_interpretation(image->get()) == VIPS_INTERPRETATION_CMYK;
  VipsImage* out = nullptr;
  if (cmyk || (profile && !ProfileIsSrgb(image->get()))) {
    const int code = vips_icc_transform(image->get(), &out, "srgb", "embedded", TRUE,
                                        "input_profile", cmyk ? "cmyk" : "srgb", "intent",
                                        VIPS_INTENT_RELATIVE, "depth", 8, nullptr);
    if (Take(code, out, image)) return true;
    vips_error_clear();  // a broken profile: the numbers are taken as they are
  }
  return Take(vips_colourspace(image->get(), &out, VIPS_INTERPRETATION_sRGB, nullptr), out,
              image) &&
         Take(vips_cast_uchar(image->get(), &out, nullptr), out, image);
}

/// The last band as 8 bits.
bool ToAlpha(Vips* image) {
  VipsImage* out = nullptr;
  if (vips_image_get_format(image->get()) == VIPS_FORMAT_USHORT &&
      !Take(vips_rshift_const1(image->get(), &out, 8, nullptr), out, image)) {
    return false;
  }
  return Take(vips_cast_uchar(image->get(), &out, nullptr), out, image);
}

/// `value` over white.
char OverWhite(uint8_t value, uint8_t alpha) {
  return static_cast<char>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

}  // namespace

absl::StatusOr<Image> DecodeImage(std::string_view bytes, std::string_view name) {
  if (bytes.empty()) return InvalidArgument(fmt::format("'{}': the file is empty", name));
  if (bytes.size() > kMaxImageBytes) {
    return InvalidArgument(fmt::format("'{}': {} bytes are more than the {} allowed for a picture",
                                       name, bytes.size(), kMaxImageBytes));
  }
  const std::string format = SniffImageFormat(bytes);
  if (!IsReadableImageFormat(format)) {
    return InvalidArgument(fmt::format(
        "'{}': {}; expected JPEG, PNG, WebP, TIFF, GIF, HEIC or AVIF: convert it or take it away",
        name, format.empty() ? "not a picture in a known format" : format + " is not read here"));
  }
  if (!StartVips()) return Internal(fmt::format("libvips does not start ({})", VipsError()));

  // "memory": decoded pixels stay in memory, never in a temporary file. Nothing is decoded before
  // the first pixel is asked for, so the size can be checked first.
  Vips image(vips_image_new_from_buffer(bytes.data(), bytes.size(), "", "memory", TRUE, "fail_on",
                                        VIPS_FAIL_ON_ERROR, nullptr));
  if (image == nullptr) return Damaged(name, format);
  const int64_t width = vips_image_get_width(image.get());
  const int64_t height = vips_image_get_height(image.get());
  if (width > kMaxImageSide || height > kMaxImageSide || width * height > kMaxImagePixels) {
    return InvalidArgument(
        fmt::format("'{}': {} x {} pixels are too many; at most {} in all and {} a side are read",
                    name, width, height, kMaxImagePixels, kMaxImageSide));
  }

  VipsImage* out = nullptr;
  if (!Take(vips_autorot(image.get(), &out, nullptr), out, &image)) return Damaged(name, format);
  const bool has_alpha = vips_image_hasalpha(image.get()) != 0;
  if (has_alpha) {
    const int bands = vips_image_get_bands(image.get());
    Vips alpha, colour;
    if (!Take(vips_extract_band(image.get(), &out, bands - 1, nullptr), out, &alpha) ||
        !ToAlpha(&alpha) ||
        !Take(vips_extract_band(image.get(), &out, 0, "n", bands - 1, nullptr), out, &colour) ||
        !ToSrgb(&colour) ||
        !Take(vips_bandjoin2(colour.get(), alpha.get(), &out, nullptr), out, &image)) {
      return Damaged(name, format);
    }
  } else if (!ToSrgb(&image)) {
    return Damaged(name, format);
  }

  size_t size = 0;
  const std::unique_ptr<void, decltype(&g_free)> pixels(
      vips_image_write_to_memory(image.get(), &size), &g_free);
  if (pixels == nullptr) return Damaged(name, format);
  Image result{.width = vips_image_get_width(image.get()),
               .height = vips_image_get_height(image.get())};
  const size_t count = static_cast<size_t>(result.width) * static_cast<size_t>(result.height);
  if (size != count * (has_alpha ? 4 : 3)) {
    return InvalidArgument(fmt::format(
        "'{}': this {} file has a colour format that is not read here; convert it to PNG", name,
        format));
  }
  const auto* from = static_cast<const uint8_t*>(pixels.get());
  if (!has_alpha) {
    result.rgb.assign(reinterpret_cast<const char*>(from), size);
    return result;
  }
  result.rgb.resize(count * 3);
  for (size_t i = 0; i < count; ++i, from += 4) {
    for (int c = 0; c < 3; ++c) result.rgb[3 * i + c] = OverWhite(from[c], from[3]);
  }
  return result;
}

}  // namespace neolog
