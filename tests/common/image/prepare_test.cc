#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "common/base/hash.h"
#include "common/image/image.h"
#include "common/image/resample.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

/// The pictures of tests/reference/make_resize.py.
Image Noise(int width, int height) {
  Image image{.width = width, .height = height};
  uint32_t x = static_cast<uint32_t>(width) * 65536 + static_cast<uint32_t>(height);
  for (int i = 0; i < width * height * 3; ++i) {
    x = x * 1664525 + 1013904223;
    image.rgb.push_back(static_cast<char>(x >> 24));
  }
  return image;
}

std::string Pixel(const Image& image, int x, int y) {
  return image.rgb.substr(3 * (y * image.width + x), 3);
}

TEST(ResampleTest, EqualsPillowByteForByte) {
  std::istringstream golden(
      neolog::testing::ReadFileOrDie(neolog::testing::SourcePath("tests/golden/resize.txt")));
  int cases = 0;
  for (std::string line; std::getline(golden, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream fields(line);
    int in_width = 0, in_height = 0, width = 0, height = 0;
    std::string digest;
    ASSERT_TRUE(fields >> in_width >> in_height >> width >> height >> digest) << line;
    const Image resized = ResizeBicubic(Noise(in_width, in_height), width, height);
    EXPECT_EQ(Sha256Hex(resized.rgb), digest) << line;
    ++cases;
  }
  EXPECT_GE(cases, 10);
}

TEST(PrepareSquareTest, TakesTheCentre) {
  // 6 x 2: the middle two columns are kept.
  Image image{.width = 6, .height = 2};
  for (int i = 0; i < 12; ++i) image.rgb += std::string(3, static_cast<char>(i % 6));
  ASSERT_OK_AND_ASSIGN(const Image square, PrepareSquare(image, 2, false));
  EXPECT_EQ(square.rgb, std::string("\2\2\2\3\3\3\2\2\2\3\3\3"));
  ASSERT_OK_AND_ASSIGN(const Image mirrored, PrepareSquare(image, 2, true));
  EXPECT_EQ(mirrored.rgb, std::string("\3\3\3\2\2\2\3\3\3\2\2\2"));
}

TEST(PrepareSquareTest, FlipTwice_IsTheSamePicture) {
  const Image image = Noise(31, 17);
  ASSERT_OK_AND_ASSIGN(const Image plain, PrepareSquare(image, 17, false));
  ASSERT_OK_AND_ASSIGN(const Image flipped, PrepareSquare(image, 17, true));
  EXPECT_NE(plain, flipped);
  EXPECT_EQ(Pixel(plain, 0, 3), Pixel(flipped, 16, 3));
  EXPECT_EQ(Pixel(plain, 8, 3), Pixel(flipped, 8, 3));
  EXPECT_EQ(*PrepareSquare(flipped, 17, true), plain);
}

TEST(PrepareSquareTest, WrongSizes_AreRefused) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(PrepareSquare(Noise(4, 4), 0, false), StatusIs(invalid, HasSubstr("found 0")));
  EXPECT_THAT(PrepareSquare(Noise(4, 4), 8193, false), StatusIs(invalid, HasSubstr("8193")));
  EXPECT_THAT(PrepareSquare(Image(), 8, false), StatusIs(invalid, HasSubstr("0 x 0")));
  EXPECT_THAT(PrepareSquare({.width = 2, .height = 2, .rgb = "abc"}, 8, false),
              StatusIs(invalid, HasSubstr("3 bytes")));
}

TEST(ImageTest, HasImageExtension) {
  for (const char* name :
       {"a.jpg", "A.JPEG", "b.c.PNG", "x.webp", "x.tif", "x.tiff", "x.gif", "x.heic", "x.avif"}) {
    EXPECT_TRUE(HasImageExtension(name)) << name;
  }
  for (const char* name : {"", "jpg", ".jpg", "a.txt", "a.jpg.txt", "a.bmp", "a.svg"})
    EXPECT_FALSE(HasImageExtension(name)) << name;
}

}  // namespace
}  // namespace neolog
