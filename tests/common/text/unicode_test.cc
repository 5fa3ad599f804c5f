#include "common/text/unicode.h"

#include <gtest/gtest.h>

namespace neolog {
namespace {

const std::string kReplacement = "\xef\xbf\xbd";

struct Utf8Case {
  std::string name;
  std::string bytes;
  std::string replaced;
};
class ReplaceInvalidUtf8Test : public ::testing::TestWithParam<Utf8Case> {};

TEST_P(ReplaceInvalidUtf8Test, EachMaximalIllFormedPartIsOneReplacement) {
  EXPECT_EQ(ReplaceInvalidUtf8(GetParam().bytes), GetParam().replaced);
  EXPECT_EQ(IsValidUtf8(GetParam().bytes), GetParam().bytes == GetParam().replaced);
  EXPECT_TRUE(IsValidUtf8(GetParam().replaced));
}

std::vector<Utf8Case> Utf8Cases() {
  const std::string r = kReplacement;
  return {
      {"Empty", "", ""},
      {"Ascii", "cat", "cat"},
      {"LongestForms", "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
       "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
      {"LoneContinuation", "a\x80\xbf", "a" + r + r},
      // Unicode 15, tables 3-8 to 3-11.
      {"Overlong", "\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", r + r + r + r + r + r + r + r + "\x41"},
      {"Surrogates", "\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41",
       r + r + r + r + r + r + r + r + "\x41"},
      {"Others", "\xf4\x91\x92\x93\xff\x41\x80\xbf\x42",
       r + r + r + r + r + "\x41" + r + r + "\x42"},
      {"Truncated", "\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", r + r + r + r + "\x41"},
      {"CutAtTheEnd", "a\xf0\x9f\x99", "a" + r},
  };
}
INSTANTIATE_TEST_SUITE_P(All, ReplaceInvalidUtf8Test, ::testing::ValuesIn(Utf8Cases()),
                         [](const auto& info) { return info.param.name; });

TEST(UnicodeTest, CodePointsRoundTrip) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text = "x";
    AppendUtf8(c, &text);
    ASSERT_TRUE(IsValidUtf8(text));
    size_t pos = 1;
    ASSERT_EQ(NextCodePoint(text, &pos), c);
    ASSERT_EQ(pos, text.size());
    ASSERT_EQ(CodePointBefore(text, pos), c);
  }
}

TEST(UnicodeTest, Nfc) {
  EXPECT_EQ(NormalizeNfc("plain"), "plain");
  EXPECT_EQ(NormalizeNfc("e\u0301"), "é");
  EXPECT_EQ(NormalizeNfc("q\u0307\u0323"), "q\u0323\u0307") << "marks are ordered by class";
  EXPECT_EQ(NormalizeNfc("q\u0323\u0307"), "q\u0323\u0307");
  EXPECT_EQ(NormalizeNfc("a\u0327\u0301"), "á\u0327") << "composes past a mark of another class";
  EXPECT_EQ(NormalizeNfc("\u1112\u1161\u11ab"), "한");
  EXPECT_EQ(NormalizeNfc("\u212b\u2126"), "ÅΩ") << "singletons";
  EXPECT_EQ(NormalizeNfc("\u0958"), "\u0915\u093c") << "composition exclusions";
  EXPECT_EQ(NormalizeNfc(">\u0338"), "≯");
}

// The reference's NFC is of Unicode 9: it does not reorder or compose what is newer.
TEST(UnicodeTest, Nfc_LeavesMarksNewerThanTheReference) {
  EXPECT_EQ(NormalizeNfc("e\u1abf\u0308"), "e\u1abf\u0308");
  EXPECT_EQ(NormalizeNfc("x\u0345\u08d3"), "x\u0345\u08d3");
  EXPECT_EQ(NormalizeNfc("\U00011935\U00011930"), "\U00011935\U00011930");
  EXPECT_EQ(NormalizeNfc("\U00011938"), "\U00011938");
}

TEST(UnicodeTest, Nfc_LongRunOfMarks_IsNotQuadratic) {
  std::string marks = "a";
  std::string sorted = "a";
  for (int i = 0; i < 200'000; ++i) marks += "\u0345\u0334";
  for (int i = 0; i < 200'000; ++i) sorted += "\u0334";
  for (int i = 0; i < 200'000; ++i) sorted += "\u0345";
  EXPECT_EQ(NormalizeNfc(marks), sorted);  // takes minutes if it is
}

TEST(UnicodeTest, LowerCase_EachCodePointByItself) {
  EXPECT_EQ(LowerCase("ABC xyz"), "abc xyz");
  EXPECT_EQ(LowerCase("İ"), "i\u0307");
  EXPECT_EQ(LowerCase("ΣΊΣΥΦΟΣ"), "σίσυφοσ") << "no final sigma";
  EXPECT_EQ(LowerCase("\u212a"), "k") << "Kelvin";
  EXPECT_EQ(LowerCase("ẞ"), "ß");
  EXPECT_EQ(LowerCase("ǅ"), "ǆ");
  EXPECT_EQ(LowerCase("\U00010d50"), "\U00010d70") << "Unicode 16";
  EXPECT_EQ(LowerCase("\ua7dc"), "\u019b");
}

TEST(UnicodeTest, Classes) {
  EXPECT_TRUE(IsLetter(U'a') && IsLetter(U'é') && IsLetter(U'東') && IsLetter(U'ª') &&
              IsLetter(0x2ebf0));
  EXPECT_FALSE(IsLetter(U'1') || IsLetter(0x301) || IsLetter(U'_') || IsLetter(U' '));
  EXPECT_TRUE(IsNumber(U'7') && IsNumber(U'½') && IsNumber(U'Ⅷ') && IsNumber(U'²') &&
              IsNumber(0x16d70));
  EXPECT_TRUE(IsSpace(U'\t') && IsSpace(0x85) && IsSpace(0xa0) && IsSpace(0x3000) &&
              IsSpace(0x2028));
  EXPECT_FALSE(IsSpace(0x180e) || IsSpace(0x200b) || IsSpace(0x1c) || IsSpace(0xfeff));
  EXPECT_TRUE(IsWordCharacter(U'_') && IsWordCharacter(0x301) && IsWordCharacter(U'3') &&
              IsWordCharacter(0x200d));
  EXPECT_FALSE(IsWordCharacter(U'-') || IsWordCharacter(U'\'') || IsWordCharacter(U'½') ||
               IsWordCharacter(U' '));
}

}  // namespace
}  // namespace neolog
