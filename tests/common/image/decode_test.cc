// DecodeImage on pictures that libvips' own savers make here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <vips/vips.h>

#include <functional>
#include <thread>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

/// Red, green, blue and white quarters, in reading order.
Image Quarters(int width, int height) {
  static constexpr const char* kColours[] = {"\xff\0\0", "\0\xff\0", "\0\0\xff", "\xff\xff\xff"};
  Image image{.width = width, .height = height};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x)
      image.rgb.append(kColours[(y >= height / 2) * 2 + (x >= width / 2)], 3);
  }
  return image;
}

/// A libvips image of `bytes`, `bands` bands of `format`; the caller unrefs it.
VipsImage* FromBytes(const std::string& bytes, int width, int height, int bands,
                     VipsBandFormat format = VIPS_FORMAT_UCHAR) {
  return vips_image_new_from_memory_copy(bytes.data(), bytes.size(), width, height, bands, format);
}

/// What `suffix` (".jpg[Q=90]") makes of an image, which is unrefed.
std::string Save(VipsImage* image, const std::string& suffix) {
  void* data = nullptr;
  size_t size = 0;
  if (vips_image_write_to_buffer(image, suffix.c_str(), &data, &size, nullptr) != 0) {
    ADD_FAILURE() << suffix << ": " << vips_error_buffer();
  }
  g_object_unref(image);
  std::string bytes(static_cast<const char*>(data), size);
  g_free(data);
  return bytes;
}

std::string Save(const Image& image, const std::string& suffix) {
  return Save(FromBytes(image.rgb, image.width, image.height, 3), suffix);
}

class DecodeTest : public ::testing::Test {
 protected:
  // The first call starts libvips, for the savers too.
  static void SetUpTestSuite() {
    DecodeImage(*EncodePng(Quarters(2, 2), {}), "start").IgnoreError();
  }

  static ::testing::AssertionResult Near(const Image& image, int x, int y, int r, int g, int b,
                                         int tolerance) {
    for (int c = 0; c < 3; ++c) {
      const int value = static_cast<uint8_t>(image.rgb[3 * (y * image.width + x) + c]);
      const int expected = c == 0 ? r : c == 1 ? g : b;
      if (std::abs(value - expected) > tolerance) {
        return ::testing::AssertionFailure() << "pixel " << x << ", " << y << " band " << c
                                             << " is " << value << ", not " << expected;
      }
    }
    return ::testing::AssertionSuccess();
  }
  /// The colours in the middle of each quarter. Lossy formats mix colours near edges; 12 is what
  /// JPEG at quality 90 with halved chroma does to flat saturated areas.
  static void ExpectQuarters(const Image& image, int tolerance = 12) {
    const int l = image.width / 4, r = image.width * 3 / 4, t = image.height / 4,
              b = image.height * 3 / 4;
    EXPECT_TRUE(Near(image, l, t, 255, 0, 0, tolerance));
    EXPECT_TRUE(Near(image, r, t, 0, 255, 0, tolerance));
    EXPECT_TRUE(Near(image, l, b, 0, 0, 255, tolerance));
    EXPECT_TRUE(Near(image, r, b, 255, 255, 255, tolerance));
  }
};

class DecodeFormatTest : public DecodeTest,
                         public ::testing::WithParamInterface<std::pair<const char*, const char*>> {
};

TEST_P(DecodeFormatTest, IsRead) {
  const auto [suffix, format] = GetParam();
  const std::string bytes = Save(Quarters(64, 32), suffix);
  EXPECT_EQ(SniffImageFormat(bytes), format);
  ASSERT_OK_AND_ASSIGN(const Image image, DecodeImage(bytes, "x"));
  EXPECT_EQ(image.width, 64);
  EXPECT_EQ(image.height, 32);
  ExpectQuarters(image);
  EXPECT_EQ(*DecodeImage(bytes, "x"), image);
}

TEST_P(DecodeFormatTest, CutTo90Percent_IsRefusedWithItsName) {
  const auto [suffix, format] = GetParam();
  // Noise, so that the pixels and not the headers are what is cut.
  Image noise{.width = 256, .height = 256};
  uint32_t x = 1;
  for (int i = 0; i < 256 * 256 * 3; ++i)
    noise.rgb.push_back(static_cast<char>((x = x * 1664525 + 1013904223) >> 24));
  const std::string bytes = Save(noise, suffix);
  EXPECT_OK(DecodeImage(bytes, "whole"));
  for (const double share : {0.9, 0.5, 0.99}) {
    EXPECT_THAT(
        DecodeImage(bytes.substr(0, static_cast<size_t>(static_cast<double>(bytes.size()) * share)),
                    "cat.bin"),
        StatusIs(kInvalid, AllOf(StartsWith("'cat.bin': this "), HasSubstr(format),
                                 HasSubstr("damaged or cut off"))))
        << share;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, DecodeFormatTest,
    ::testing::Values(std::pair{".png", "PNG"}, std::pair{".jpg[Q=90]", "JPEG"},
                      std::pair{".jpg[Q=90,interlace=true]", "JPEG"},
                      std::pair{".webp[Q=95]", "WebP"}, std::pair{".webp[lossless=true]", "WebP"},
                      std::pair{".tif", "TIFF"}, std::pair{".tif[compression=deflate]", "TIFF"},
                      std::pair{".tif[compression=lzw]", "TIFF"}, std::pair{".gif", "GIF"},
                      std::pair{".avif[lossless=true]", "AVIF"}),
    [](const auto& info) {
      std::string name = info.param.first;
      std::erase_if(name, [](char c) { return !isalnum(static_cast<unsigned char>(c)); });
      return name;
    });

TEST_F(DecodeTest, EveryExifOrientation_IsTurnedUpright) {
  const Image upright = Quarters(64, 32);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    SCOPED_TRACE(orientation);
    // EXIF 2.3, tag 0x0112: where the stored row 0 and column 0 are on the upright picture. Values
    // from 5 on swap the axes.
    const bool swap = orientation >= 5;
    Image stored{.width = swap ? 32 : 64, .height = swap ? 64 : 32};
    for (int y = 0; y < stored.height; ++y) {
      for (int x = 0; x < stored.width; ++x) {
        int ux = swap ? y : x, uy = swap ? x : y;
        const bool right =
            orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
        const bool bottom =
            orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
        if (!swap) {
          if (right) ux = 63 - ux;
          if (bottom) uy = 31 - uy;
        } else {
          // 5: row 0 left, column 0 top. 6: row 0 right, column 0 top. 7: right, bottom. 8: left,
          // bottom.
          if (orientation == 6 || orientation == 7) ux = 63 - ux;
          if (orientation == 7 || orientation == 8) uy = 31 - uy;
        }
        stored.rgb.append(upright.rgb, 3 * (uy * 64 + ux), 3);
      }
    }
    // For 5 to 8 a stored row is an upright column: row 0 on the left means ux grows with y.
    for (const char* suffix : {".jpg[Q=95]", ".tif", ".png", ".webp[lossless=true]"}) {
      SCOPED_TRACE(suffix);
      VipsImage* image = FromBytes(stored.rgb, stored.width, stored.height, 3);
      vips_image_set_int(image, VIPS_META_ORIENTATION, orientation);
      // PNG and WebP keep the orientation only within EXIF data.
      std::string exif("Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0?\0\0\0\0\0\0\0", 32);
      exif[24] = static_cast<char>(orientation);
      vips_image_set_blob_copy(image, VIPS_META_EXIF_NAME, exif.data(), exif.size());
      ASSERT_OK_AND_ASSIGN(const Image decoded, DecodeImage(Save(image, suffix), suffix));
      EXPECT_EQ(decoded.width, 64);
      ExpectQuarters(decoded);
    }
  }
}

TEST_F(DecodeTest, Alpha_IsLaidOverWhite) {
  // Red at opacities 255, 128 and 0.
  const std::string rgba("\xff\0\0\xff\xff\0\0\x80\xff\0\0\0", 12);
  for (const char* suffix : {".png", ".tif", ".webp[lossless=true]"}) {
    ASSERT_OK_AND_ASSIGN(const Image image,
                         DecodeImage(Save(FromBytes(rgba, 3, 1, 4), suffix), suffix));
    EXPECT_TRUE(Near(image, 0, 0, 255, 0, 0, 0)) << suffix;
    EXPECT_TRUE(Near(image, 1, 0, 255, 127, 127, 0)) << suffix;
    EXPECT_TRUE(Near(image, 2, 0, 255, 255, 255, 0)) << suffix;
  }
}

TEST_F(DecodeTest, GreyWithAndWithoutAlpha) {
  ASSERT_OK_AND_ASSIGN(
      const Image grey,
      DecodeImage(Save(FromBytes(std::string("\x10\xc8", 2), 2, 1, 1), ".png"), "grey"));
  EXPECT_TRUE(Near(grey, 0, 0, 16, 16, 16, 0));
  EXPECT_TRUE(Near(grey, 1, 0, 200, 200, 200, 0));
  VipsImage* two = FromBytes(std::string("\x10\xff\xc8\0", 4), 2, 1, 2);
  two->Type = VIPS_INTERPRETATION_B_W;
  ASSERT_OK_AND_ASSIGN(const Image alpha, DecodeImage(Save(two, ".png"), "grey alpha"));
  EXPECT_TRUE(Near(alpha, 0, 0, 16, 16, 16, 0));
  EXPECT_TRUE(Near(alpha, 1, 0, 255, 255, 255, 0));
}

TEST_F(DecodeTest, SixteenBits_KeepTheUpperEight) {
  const uint16_t rgb[] = {0x1234, 0xff00, 0x80ff};
  VipsImage* image =
      FromBytes(std::string(reinterpret_cast<const char*>(rgb), 6), 1, 1, 3, VIPS_FORMAT_USHORT);
  image->Type = VIPS_INTERPRETATION_RGB16;
  const std::string png = Save(image, ".png");
  EXPECT_EQ(png[24], 16);  // bit depth
  ASSERT_OK_AND_ASSIGN(const Image decoded, DecodeImage(png, "16"));
  EXPECT_TRUE(Near(decoded, 0, 0, 0x12, 0xff, 0x80, 0));

  const uint16_t rgba[] = {0xffff, 0, 0, 0x8000};
  image =
      FromBytes(std::string(reinterpret_cast<const char*>(rgba), 8), 1, 1, 4, VIPS_FORMAT_USHORT);
  image->Type = VIPS_INTERPRETATION_RGB16;
  ASSERT_OK_AND_ASSIGN(const Image alpha, DecodeImage(Save(image, ".png"), "16 alpha"));
  EXPECT_TRUE(Near(alpha, 0, 0, 255, 127, 127, 0));
}

TEST_F(DecodeTest, Cmyk_BecomesRgb) {
  for (const char* suffix : {".jpg[Q=95]", ".tif"}) {
    std::string cmyk;
    for (int i = 0; i < 16 * 16; ++i)
      cmyk += std::string("\0\xff\xff\0", 4);  // magenta and yellow: red
    VipsImage* image = FromBytes(cmyk, 16, 16, 4);
    image->Type = VIPS_INTERPRETATION_CMYK;
    ASSERT_OK_AND_ASSIGN(const Image decoded, DecodeImage(Save(image, suffix), suffix));
    // Printing colours are duller than sRGB's; which red exactly is the profile's choice.
    EXPECT_TRUE(Near(decoded, 8, 8, 230, 30, 40, 50)) << suffix;
  }
}

TEST_F(DecodeTest, IccProfile_IsAppliedAndABrokenOneIgnored) {
  // Display P3 holds a stronger red than sRGB, so a colour inside P3 gets larger numbers in sRGB.
  const std::string rgb = std::string("\xc8\x32\x32", 3);
  VipsImage* image = FromBytes(rgb, 1, 1, 3);
  VipsImage* p3 = nullptr;
  ASSERT_EQ(vips_icc_transform(image, &p3, "p3", "input_profile", "srgb", nullptr), 0)
      << vips_error_buffer();
  g_object_unref(image);
  const std::string png = Save(p3, ".png");
  ASSERT_OK_AND_ASSIGN(const Image decoded, DecodeImage(png, "p3"));
  EXPECT_TRUE(
      Near(decoded, 0, 0, 0xc8, 0x32, 0x32, 2));  // back to sRGB; 2 for two roundings to 8 bits

  image = FromBytes(rgb, 1, 1, 3);
  vips_image_set_blob_copy(image, VIPS_META_ICC_NAME, "broken", 6);
  ASSERT_OK_AND_ASSIGN(const Image broken, DecodeImage(Save(image, ".tif"), "broken profile"));
  EXPECT_TRUE(Near(broken, 0, 0, 0xc8, 0x32, 0x32, 0));
}

TEST_F(DecodeTest, FormatsThatAreNotRead_AreNamed) {
  const struct {
    std::string bytes;
    const char* format;
  } kCases[] = {
      {"BM" + std::string(100, '\0'), "BMP is not read here"},
      {"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" "
       "height=\"9\"/>",
       "SVG is not read here"},
      {std::string("\xff\x0a", 2) + "xxxx", "JPEG XL is not read here"},
      {std::string("\0\0\0\x0cjP  \r\n\x87\n", 12), "JPEG 2000 is not read here"},
      {"P6\n1 1\n255\nabc", "PNM is not read here"},
      {"%PDF-1.7", "PDF is not read here"},
      {"8BPS", "Photoshop is not read here"},
      {"<!DOCTYPE html><title>404</title>", "HTML is not read here"},
      {"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer is not read here"},
      {"just text", "not a picture in a known format"},
      {std::string("\0\0\0\x18"
                   "ftypisom\0\0\0\0",
                   16),
       "video is not read here"},
  };
  for (const auto& [bytes, format] : kCases) {
    EXPECT_THAT(DecodeImage(bytes, "dir/x.bin"),
                StatusIs(kInvalid, AllOf(StartsWith("'dir/x.bin': "), HasSubstr(format),
                                         HasSubstr("convert it"))));
  }
  EXPECT_THAT(DecodeImage("", "x.png"), StatusIs(kInvalid, "'x.png': the file is empty"));
}

TEST_F(DecodeTest, UntrustedLoaders_AreBlocked) {
  const std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>";
  VipsImage* image = vips_image_new_from_buffer(svg.data(), svg.size(), "", nullptr);
  EXPECT_EQ(image, nullptr);
  EXPECT_THAT(vips_error_buffer(), HasSubstr("blocked"));
  vips_error_clear();
}

TEST_F(DecodeTest, HugeDimensions_AreRefusedBeforeDecoding) {
  VipsImage* black = nullptr;
  ASSERT_EQ(vips_black(&black, 11'000, 11'000, nullptr), 0);
  EXPECT_THAT(DecodeImage(Save(black, ".png[compression=1]"), "bomb.png"),
              StatusIs(kInvalid, AllOf(HasSubstr("11000 x 11000"), HasSubstr("too many"))));
}

TEST_F(DecodeTest, ManyThreads_GetTheSamePictures) {
  const std::string good = Save(Quarters(64, 32), ".jpg[Q=90]");
  const Image expected = *DecodeImage(good, "good");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto image = DecodeImage(good, "good");
        ASSERT_OK(image);
        EXPECT_EQ(*image, expected);
        EXPECT_FALSE(DecodeImage(good.substr(0, good.size() / 2), "bad").ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace neolog
