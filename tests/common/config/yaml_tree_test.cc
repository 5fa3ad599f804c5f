#include "common/config/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace neolog::config {
namespace {

using ::testing::HasSubstr;

TEST(YamlTreeTest, KeepsPlacesQuotesAndOrder) {
  const YamlDocument document = ParseYaml("b: [x, 'y']\na:\n  c: \"no\"\n  d: ~\n");
  ASSERT_TRUE(document.problems.empty());
  const YamlNode& root = *document.root;
  ASSERT_EQ(root.entries.size(), 2u);
  EXPECT_EQ(root.entries[0].key, "b");
  const YamlNode& list = *root.entries[0].value;
  ASSERT_EQ(list.items.size(), 2u);
  EXPECT_FALSE(list.items[0]->quoted);
  EXPECT_TRUE(list.items[1]->quoted);
  EXPECT_EQ(list.items[1]->position.line, 1);
  EXPECT_EQ(list.items[1]->position.column, 8);
  const YamlNode& map = *root.entries[1].value;
  EXPECT_EQ(map.entries[0].value->text, "no");
  EXPECT_EQ(map.entries[0].position.line, 3);
  EXPECT_EQ(map.entries[0].position.column, 3);
  EXPECT_EQ(map.entries[1].value->kind, YamlNode::Kind::kNull);
}

TEST(YamlTreeTest, EmptyDocuments_AreNull) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "\xef\xbb\xbf"}) {
    const YamlDocument document = ParseYaml(text);
    EXPECT_TRUE(document.problems.empty()) << text;
    ASSERT_NE(document.root, nullptr) << text;
    EXPECT_EQ(document.root->kind, YamlNode::Kind::kNull) << text;
  }
}

TEST(YamlTreeTest, DuplicateKeys_AreAllReportedAndTheFirstKept) {
  const YamlDocument document = ParseYaml("a: 1\nt:\n  s: 1\n  s: 2\na: 3\na: 4\n");
  ASSERT_NE(document.root, nullptr);
  ASSERT_EQ(document.problems.size(), 3u);
  EXPECT_EQ(document.problems[0].key, "t.s");
  EXPECT_EQ(document.problems[0].position.line, 4);
  EXPECT_THAT(document.problems[0].message, HasSubstr("first on line 3"));
  EXPECT_EQ(document.problems[2].key, "a");
  EXPECT_EQ(document.problems[2].position.line, 6);
  EXPECT_EQ(document.root->entries[0].value->text, "1");
}

TEST(YamlTreeTest, Aliases_AreSharedNodes) {
  const YamlDocument document = ParseYaml("a: &x [1, 2]\nb: *x\n");
  ASSERT_TRUE(document.problems.empty());
  EXPECT_EQ(document.root->entries[0].value, document.root->entries[1].value);
}

struct BadCase {
  const char* name;
  std::string text;
  std::string message;
  int line;
};

class YamlTreeBadTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(YamlTreeBadTest, IsRefusedWithItsPlace) {
  const YamlDocument document = ParseYaml(GetParam().text);
  EXPECT_EQ(document.root, nullptr);
  ASSERT_EQ(document.problems.size(), 1u);
  EXPECT_THAT(document.problems[0].message, HasSubstr(GetParam().message));
  EXPECT_EQ(document.problems[0].position.line, GetParam().line);
}

std::string Bomb() {  // ten lists of ten of the list before: 10^10 values
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += (j > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    text += "]\n";
  }
  return text;
}

std::string WideText() {  // one long text, many aliases of it
  std::string text = "a: &a \"" + std::string(100'000, 'x') + "\"\nb: [";
  for (int i = 0; i < 100; ++i) text += i > 0 ? ", *a" : "*a";
  return text + "]\n";
}

INSTANTIATE_TEST_SUITE_P(
    All, YamlTreeBadTest,
    ::testing::Values(
        BadCase{"AliasBomb", Bomb(), "more than 10000 values, with aliases expanded", 4},
        BadCase{"TextBomb", WideText(), "bytes of text, with aliases expanded", 2},
        BadCase{"DeepFlow", "a: " + std::string(40, '[') + std::string(40, ']'),
                "nested more than 16 deep", 1},
        BadCase{"OpenBrackets", "a: " + std::string(50'000, '['), "", 1},
        BadCase{"DeepBlock",
                [] {
                  std::string text;
                  for (int i = 0; i < 40; ++i) text += std::string(i, ' ') + "a:\n";
                  return text;
                }(),
                "nested more than 16 deep", 17},
        BadCase{"RecursiveAlias", "a: &a [*a]\n", "inside the value that it names", 1},
        BadCase{"UnknownAlias", "a: *b\n", "not YAML", 1},
        BadCase{"SecondDocument", "a: 1\n---\nb: 2\n", "a second document", 2},
        BadCase{"TooLarge", "# " + std::string(256 << 10, 'x'), "more than the 262144 allowed", 0},
        BadCase{"NotUtf8", "a: 1\nb: \xff\n", "not UTF-8", 2},
        BadCase{"Utf16",
                std::string("\xff\xfe"
                            "a\0",
                            4),
                "not UTF-8", 1},
        BadCase{"NulByte", std::string("a: b\0c\n", 7), "control character (code 0)", 1},
        BadCase{"Escape", "a: \"\x1b[31m\"\n", "control character (code 27)", 1},
        BadCase{"EscapedControl", "a: \"x\\ny\"\n", "control character", 1},
        BadCase{"BlockText", "a: |\n  x\n  y\n", "control character", 1},
        BadCase{"Tag", "a: !!python/object:os.system [x]\n", "the tag", 1},
        BadCase{"IntTag", "a: !!int '5'\n", "the tag", 1}, BadCase{"ListKey", "[a, b]: 1\n", "", 1},
        BadCase{"Unclosed", "a: [1, 2\nb: 3\n", "not YAML", 2},
        BadCase{"Tab", "a:\n\tb: 1\n", "not YAML", 2}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace neolog::config
