#include "common/image/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Image Gradient() {
  Image image{.width = 5, .height = 3};
  for (int i = 0; i < 45; ++i) image.rgb.push_back(static_cast<char>(i * 5));
  return image;
}

std::string Be32(uint32_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(value >> shift & 0xff));
  return bytes;
}

std::string Chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return Be32(static_cast<uint32_t>(data.size())) + body + Be32(static_cast<uint32_t>(crc));
}

/// A PNG with one more chunk behind its IHDR.
std::string WithChunk(const std::string& chunk) {
  std::string png = *EncodePng(Gradient(), {});
  return png.insert(33, chunk);
}

std::string Deflate(const std::string& text) {
  uLongf size = compressBound(static_cast<uLong>(text.size()));
  std::string packed(size, '\0');
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &size,
                     reinterpret_cast<const Bytef*>(text.data()), text.size()),
            Z_OK);
  packed.resize(size);
  return packed;
}

TEST(PngTest, PixelsAndText_ComeBack) {
  const PngText text = {{"parameters", "a photo of zesko\nSteps: 20, Seed: 1"},
                        {"Comment", "größe 漢字"},
                        {"Empty", ""}};
  ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(Gradient(), text));
  EXPECT_EQ(*DecodeImage(png, "x.png"), Gradient());
  EXPECT_EQ(*ReadPngText(png, "x.png"), text);
}

TEST(PngTest, NoText) { EXPECT_THAT(*ReadPngText(*EncodePng(Gradient(), {}), "x"), IsEmpty()); }

TEST(PngTest, SameInput_SameBytes) {
  EXPECT_EQ(*EncodePng(Gradient(), {{"a", "b"}}), *EncodePng(Gradient(), {{"a", "b"}}));
}

TEST(PngTest, OtherWritersChunks_AreRead) {
  const std::string zero(1, '\0');
  EXPECT_THAT(*ReadPngText(WithChunk(Chunk("tEXt", "Author" + zero + "Andr\xe9")), "x"),
              ElementsAre(Pair("Author", "André")));
  EXPECT_THAT(
      *ReadPngText(WithChunk(Chunk("zTXt", "k" + zero + zero + Deflate("packed \xe9"))), "x"),
      ElementsAre(Pair("k", "packed é")));
  EXPECT_THAT(*ReadPngText(WithChunk(Chunk("iTXt", "k" + zero + "\1" + zero + "de" + zero + "K" +
                                                       zero + Deflate("ä"))),
                           "x"),
              ElementsAre(Pair("k", "ä")));
  EXPECT_THAT(*ReadPngText(WithChunk(Chunk("prVt", "private")), "x"), IsEmpty());
}

TEST(PngTest, DamagedText_IsRefusedWithTheOffset) {
  const std::string zero(1, '\0');
  std::string flipped = WithChunk(Chunk("tEXt", "k" + zero + "value"));
  flipped[45] ^= 1;
  EXPECT_THAT(ReadPngText(flipped, "x.png"),
              StatusIs(kInvalid, AllOf(StartsWith("'x.png': byte 33: "), HasSubstr("checksum"))));
  for (const std::string& chunk :
       {Chunk("tEXt", "no zero"), Chunk("zTXt", "k" + zero),
        Chunk("zTXt", "k" + zero + "\1" + Deflate("x")),
        Chunk("zTXt", "k" + zero + zero + "not deflate"), Chunk("iTXt", "k" + zero),
        Chunk("iTXt", "k" + zero + "\2" + zero + zero + zero),
        Chunk("iTXt", "k" + zero + zero + zero + "no end"),
        Chunk("zTXt", "k" + zero + zero + Deflate("x").substr(0, 5))}) {
    EXPECT_THAT(ReadPngText(WithChunk(chunk), "x.png"), StatusIs(kInvalid, HasSubstr("malformed")))
        << chunk;
  }
}

TEST(PngTest, TextBombs_AreRefused) {
  const std::string bomb = "k" + std::string(2, '\0') + Deflate(std::string(17 << 20, 'x'));
  ASSERT_LT(bomb.size(), 100'000u);
  EXPECT_THAT(ReadPngText(WithChunk(Chunk("zTXt", bomb)), "x"),
              StatusIs(kInvalid, HasSubstr("16 MiB")));
  const std::string half =
      Chunk("zTXt", "k" + std::string(2, '\0') + Deflate(std::string(9 << 20, 'x')));
  EXPECT_OK(ReadPngText(WithChunk(half), "x"));
  EXPECT_THAT(ReadPngText(WithChunk(half + half), "x"), StatusIs(kInvalid, HasSubstr("16 MiB")));
  std::string many;
  for (int i = 0; i < 1001; ++i) many += Chunk("tEXt", std::string("k\0v", 3));
  EXPECT_THAT(ReadPngText(WithChunk(many), "x"), StatusIs(kInvalid, HasSubstr("more text")));
}

TEST(PngTest, CutAnywhere_IsRefused) {
  ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(Gradient(), {{"parameters", "a photo"}}));
  for (size_t size = 0; size < png.size(); ++size) {
    EXPECT_THAT(ReadPngText(png.substr(0, size), "x"), StatusIs(kInvalid, HasSubstr("byte")))
        << size;
  }
}

TEST(PngTest, Decode_GivesTheVeryPixels) {
  ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(Gradient(), {}));
  EXPECT_EQ(DecodePng(png, "x", 15).value(), Gradient());
  // A gamma that a viewer would apply changes nothing.
  std::string with_gamma = png;
  with_gamma.insert(8 + 25, Chunk("gAMA", Be32(100000)));
  EXPECT_EQ(DecodePng(with_gamma, "x", 15).value(), Gradient());
  EXPECT_THAT(DecodePng(png, "x", 14),
              StatusIs(kInvalid, AllOf(StartsWith("'x': "), HasSubstr("too large"))));
}

TEST(PngTest, Decode_CutAnywhereBeforeTheEnd_IsRefused) {
  ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(Gradient(), {}));
  // The last 12 bytes are IEND, which holds no pixels; the checksum before it is not waited for.
  for (size_t size = 0; size + 20 < png.size(); ++size) {
    EXPECT_THAT(DecodePng(png.substr(0, size), "x", 15),
                StatusIs(kInvalid, HasSubstr("cannot be decoded")))
        << size;
  }
}

TEST(PngTest, WrongArguments_AreRefused) {
  for (const std::string& keyword : {std::string(), std::string(" a"), std::string("a "),
                                     std::string("a\nb"), std::string("ä"), std::string(80, 'a')}) {
    EXPECT_THAT(EncodePng(Gradient(), {{keyword, "x"}}), StatusIs(kInvalid, HasSubstr("keyword")))
        << keyword;
  }
  EXPECT_THAT(EncodePng({.width = 2, .height = 2, .rgb = "abc"}, {}),
              StatusIs(kInvalid, HasSubstr("3 bytes")));
}

}  // namespace
}  // namespace neolog
