#include "common/text/prompts.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(PromptsTest, BuiltInTemplates) {
  EXPECT_EQ(ObjectTemplates().size(), 27u);
  EXPECT_EQ(ObjectTemplates().front(), "a photo of a [name]");
  EXPECT_EQ(ObjectTemplates().back(), "a photo of a small [name]");
  EXPECT_EQ(std::set<std::string>(ObjectTemplates().begin(), ObjectTemplates().end()).size(), 27u);
  EXPECT_EQ(StyleTemplates().size(), 19u);
  EXPECT_EQ(StyleTemplates()[7], "a picture in the style of [name]");
  for (const auto* list : {&ObjectTemplates(), &StyleTemplates()}) {
    for (const std::string& prompt : *list) EXPECT_TRUE(prompt.ends_with(" [name]")) << prompt;
  }
}

TEST(PromptsTest, ParseTemplates_SkipsCommentsAndBlankLines) {
  ASSERT_OK_AND_ASSIGN(const auto templates,
                       ParseTemplates("\xef\xbb\xbf# comment\r\n\r\n  a photo of [name]  "
                                      "\r\n\t\n#x\n[filewords], [name], [(soft)]",
                                      "t.txt"));
  EXPECT_THAT(templates, ElementsAre("a photo of [name]", "[filewords], [name], [(soft)]"));
}

TEST(PromptsTest, ParseTemplates_SaysFileAndLine) {
  EXPECT_THAT(ParseTemplates("", "t.txt"), StatusIs(kInvalid, HasSubstr("t.txt: no prompts")));
  EXPECT_THAT(ParseTemplates("# only\n\n", "t.txt"),
              StatusIs(kInvalid, HasSubstr("t.txt: no prompts")));
  EXPECT_THAT(ParseTemplates("a\nb \xff", "t.txt"),
              StatusIs(kInvalid, HasSubstr("t.txt:2: the line is not UTF-8")));
  EXPECT_THAT(
      ParseTemplates("a [filewrods]", "t.txt"),
      StatusIs(kInvalid,
               HasSubstr("t.txt:1: unknown placeholder '[filewrods]': did you mean [filewords]?")));
  EXPECT_THAT(ParseTemplates("a\n[Name]", "t.txt"),
              StatusIs(kInvalid, HasSubstr("t.txt:2: unknown placeholder '[Name]'")));
  EXPECT_THAT(ParseTemplates(std::string(5000, 'a'), "t.txt"),
              StatusIs(kInvalid, HasSubstr("t.txt:1: the line has 5000 bytes")));
}

TEST(PromptsTest, ReadTemplateFile) {
  ScopedDir dir;
  WriteFileOrDie(dir.File("t.txt"), "a [name]\n");
  ASSERT_OK_AND_ASSIGN(const auto templates, ReadTemplateFile(dir.File("t.txt")));
  EXPECT_THAT(templates, ElementsAre("a [name]"));
  EXPECT_THAT(ReadTemplateFile(dir.File("none.txt")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.txt")));
  EXPECT_THAT(ReadTemplateFile(dir.path()), StatusIs(kInvalid, HasSubstr("is not a file")));
}

TEST(PromptsTest, FillTemplate) {
  EXPECT_EQ(FillTemplate("a [name] and [name], [filewords]", "zesko", "red"),
            "a zesko and zesko, red");
  EXPECT_EQ(FillTemplate("[filewords]", "zesko", "a [name] on grass"), "a zesko on grass");
  EXPECT_EQ(FillTemplate("[filewords]", "z", "[filewords]"), "[filewords]");
  EXPECT_EQ(FillTemplate("plain", "zesko", ""), "plain");
  EXPECT_TRUE(UsesFileWords("x [filewords]"));
  EXPECT_FALSE(UsesFileWords("x [name]"));
}

TEST(PromptsTest, FileWords) {
  EXPECT_EQ(FileWords("0012-a red house.png"), "a red house");
  EXPECT_EQ(FileWords("/some/dir/house.final.jpg"), "house.final");
  EXPECT_EQ(FileWords("00123.png"), "");
  EXPECT_EQ(FileWords("a-12"), "a-12");
  EXPECT_EQ(FileWords(".hidden"), ".hidden");
}

TEST(PromptsTest, ReadCaption_PrefersTheSideFile) {
  ScopedDir dir;
  EXPECT_THAT(ReadCaption(dir.File("01 a fox.png")).value(), "a fox");
  WriteFileOrDie(dir.File("01 a fox.txt"), "\xef\xbb\xbf a fox\r\n on   grass\n");
  EXPECT_EQ(ReadCaption(dir.File("01 a fox.png")).value(), "a fox on grass");
  WriteFileOrDie(dir.File("bad.txt"), "\xff");
  EXPECT_THAT(ReadCaption(dir.File("bad.jpg")),
              StatusIs(kInvalid, AllOf(HasSubstr("bad.txt"), HasSubstr("not UTF-8"))));
  WriteFileOrDie(dir.File("long.txt"), std::string(70'000, 'a'));
  EXPECT_THAT(ReadCaption(dir.File("long.jpg")),
              StatusIs(kInvalid, HasSubstr("more than 65536 bytes")));
}

}  // namespace
}  // namespace neolog
