#include "common/text/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace neolog {

void PrintTo(const WeightedText& part, std::ostream* out) {
  *out << (part.begins_chunk ? "BREAK {" : "{") << '"' << part.text << "\", " << part.weight << '}';
}

namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

struct Case {
  const char* prompt;
  std::vector<WeightedText> parts;
};

// The examples of A1111's documentation of parse_prompt_attention and of its wiki, and what its
// code gives for the rest.
TEST(ParseAttentionTest, ReadsWhatA1111Reads) {
  const std::vector<Case> cases = {
      {"normal text", {{"normal text", 1}}},
      {"an (important) word", {{"an ", 1}, {"important", 1.1}, {" word", 1}}},
      {"(unbalanced", {{"unbalanced", 1.1}}},
      {R"(\(literal\])", {{"(literal]", 1}}},
      {"(unnecessary)(parens)", {{"unnecessaryparens", 1.1}}},
      {"a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
       {{"a ", 1},
        {"house", 1.5730000000000004},
        {" ", 1.1},
        {"on", 1},
        {" a ", 1.1},
        {"hill", 0.55},
        {", sun, ", 1.1},
        {"sky", 1.4641000000000006},
        {".", 1.1}}},
      {"", {{"", 1}}},
      {"a [b]", {{"a ", 1}, {"b", 1 / 1.1}}},
      {"((a))", {{"a", 1.1 * 1.1}}},
      {"[[a]]", {{"a", 1 / 1.1 * (1 / 1.1)}}},
      {"[(a)]", {{"a", 1.1 * (1 / 1.1)}}},
      {"(a:1)", {{"a", 1}}},
      {"(a:+.5)(b:-2)(c:3.)", {{"a", 0.5}, {"b", -2}, {"c", 3}}},
      {"(a:0)", {{"a", 0}}},
      {"(a b: 1.2)", {{"a b: 1.2", 1.1}}},  // a space is not part of a weight
      {"(a:1.2 )", {{"a:1.2 ", 1.1}}},
      {"(a:1e2)", {{"a:1e2", 1.1}}},
      {"(a:b:1.5)", {{"a:b", 1.5}}},
      {"a:1.5", {{"a:1.5", 1}}},
      {"a:1.5)", {{"a:1.5)", 1}}},        // closes nothing
      {"[a:1.5]", {{"a:1.5", 1 / 1.1}}},  // square brackets take no weight
      {"[a:1.5)]", {{"a:1.5)", 1 / 1.1}}},
      {"a) b] (c", {{"a) b] ", 1}, {"c", 1.1}}},
      {"(a [b", {{"a ", 1.1}, {"b", 1.1 * (1 / 1.1)}}},
      {"(a] b", {{"a] b", 1.1}}},
      {"(a [b) c]", {{"a ", 1.1}, {"b", 1.1 * (1 / 1.1)}, {" c", 1 / 1.1}}},
      {"()[](:2)", {{"", 1}}},
      {R"(\\(a\\))", {{"\\", 1}, {"a\\", 1.1}}},
      {R"(a\b \)", {{"ab ", 1}}},  // a backslash before anything else goes
      {R"(\(a:1.2\))", {{"(a:1.2)", 1}}},
      {R"((\(a\):1.2))", {{"(a)", 1.2}}},
      {R"(\(zesko\) (zesko:1.3))", {{"(zesko) ", 1}, {"zesko", 1.3}}},
      {"(日本:1.2)é", {{"日本", 1.2}, {"é", 1}}},
      {"(a:１.２)", {{"a:１.２", 1.1}}},
      {"(\xff:1.2)", {{"\uFFFD", 1.2}}},
      {"a BREAK b", {{"a", 1}, {"b", 1, true}}},
      {"aBREAK BREAKb _BREAK BREAK1 éBREAK break",
       {{"aBREAK BREAKb _BREAK BREAK1 éBREAK break", 1}}},
      {"a,BREAK,b", {{"a,", 1}, {",b", 1, true}}},
      {"BREAK", {{"", 1}, {"", 1, true}}},
      {"a BREAK BREAK b", {{"a", 1}, {"", 1, true}, {"b", 1, true}}},
      {"a \n BREAK\t\u3000b", {{"a", 1}, {"b", 1, true}}},
      {"(a) BREAK (b)", {{"a", 1.1}, {"", 1}, {"", 1, true}, {"b", 1.1}}},
      {"(a BREAK b:1.2)", {{"a", 1.2}, {"b", 1.2, true}}},  // A1111 does not break here
      {"[a:b:0.5] [a|b] AND c", {{"a:b:0.5", 1 / 1.1}, {" ", 1}, {"a|b", 1 / 1.1}, {" AND c", 1}}},
  };
  for (const Case& c : cases) {
    const auto parts = ParseAttention(c.prompt);
    ASSERT_OK(parts) << c.prompt;
    EXPECT_EQ(*parts, c.parts) << c.prompt;
  }
}

TEST(ParseAttentionTest, WeightThatIsNoNumber_IsRefused) {
  for (const char* weight : {"1.2.3", ".", "+", "-", "1..2", "+.", "-+1"}) {
    const auto parts = ParseAttention("(a:" + std::string(weight) + ")");
    if (std::string_view(weight).find_first_of("0123456789.") == std::string_view::npos ||
        std::string_view(weight) == "-+1") {
      EXPECT_OK(parts) << weight << " has not the form of a weight";
    } else {
      EXPECT_THAT(parts, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(weight))) << weight;
    }
  }
  EXPECT_THAT(ParseAttention("(a:" + std::string(400, '9') + ")"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a number")));
  EXPECT_THAT(ParseAttention("((cat:99999999999999999999999):99999999999999999999999)"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("around 'cat'")));
}

}  // namespace
}  // namespace neolog
