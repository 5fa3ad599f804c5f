#include "common/text/splice.h"

#include <gtest/gtest.h>

#include "tests/common/text/small_vocabulary.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::SmallVocabulary;
using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class SpliceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TokenizerFiles files = SmallVocabulary({"c a", "ca t</w>"});
    files.tokenizer_config_json = R"({"pad_token":"!"})";
    ASSERT_OK_AND_ASSIGN(tokenizer_, Tokenizer::FromFiles(files, "small"));
    cat_ = *tokenizer_->FindToken("cat</w>");
    start_ = tokenizer_->start_token();
    end_ = tokenizer_->end_token();
  }
  std::unique_ptr<Tokenizer> tokenizer_;
  int64_t cat_ = 0;
  int64_t start_ = 0;
  int64_t end_ = 0;
};

TEST_F(SpliceTest, PutsRowsInPlaceOfTheWord_AndPads) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "cat Zesko, cat", {{"zesko", 2}}, 9));
  const int64_t comma = *tokenizer_->FindToken(",</w>");
  EXPECT_THAT(spliced.input_ids, ElementsAre(start_, cat_, 0, 0, comma, cat_, end_, 0, 0));
  EXPECT_THAT(spliced.slots, ElementsAre(-1, -1, 0, 1, -1, -1, -1, -1, -1));
  EXPECT_EQ(spliced.occurrences, 1);
  EXPECT_FALSE(spliced.truncated);
}

TEST_F(SpliceTest, SeveralWordsAndOccurrences) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "b a b", {{"a", 2}, {"b", 1}}, 7));
  EXPECT_THAT(spliced.slots, ElementsAre(-1, 2, 0, 1, 2, -1, -1));
  EXPECT_EQ(spliced.occurrences, 3);
}

TEST_F(SpliceTest, NoWord_IsOnlyTokens) {
  ASSERT_OK_AND_ASSIGN(const auto spliced, SplicePrompt(*tokenizer_, "cat", {}, 4));
  EXPECT_THAT(spliced.input_ids, ElementsAre(start_, cat_, end_, 0));
  EXPECT_EQ(spliced.occurrences, 0);
}

TEST_F(SpliceTest, LongPrompt_IsCutAtTheEnd) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "zesko cat cat cat cat", {{"zesko", 1}}, 5));
  EXPECT_THAT(spliced.input_ids, ElementsAre(start_, 0, cat_, cat_, end_));
  EXPECT_TRUE(spliced.truncated);
}

TEST_F(SpliceTest, ExactFit_IsNotTruncated) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "cat zesko", {{"zesko", 2}}, 5));
  EXPECT_THAT(spliced.slots, ElementsAre(-1, -1, 0, 1, -1));
  EXPECT_FALSE(spliced.truncated);
}

TEST_F(SpliceTest, AWordIsNeverCut_ALaterOneIsLeftOutWithWhatFollows) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "zesko cat zesko cat", {{"zesko", 2}}, 6));
  EXPECT_THAT(spliced.slots, ElementsAre(-1, 0, 1, -1, -1, -1));
  EXPECT_THAT(spliced.input_ids, ElementsAre(start_, 0, 0, cat_, end_, 0));
  EXPECT_EQ(spliced.occurrences, 1);
  EXPECT_TRUE(spliced.truncated);
}

TEST_F(SpliceTest, FirstWordDoesNotFit_IsAnError) {
  EXPECT_THAT(
      SplicePrompt(*tokenizer_, "cat cat zesko", {{"zesko", 2}}, 5),
      StatusIs(
          kInvalid,
          AllOf(HasSubstr("the prompt 'cat cat zesko' is too long"),
                HasSubstr("the 2 vectors of 'zesko' would begin at token 3, and a prompt has 3"))));
  // The word comes after the cut: it would not be in the prompt at all.
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "cat cat cat cat zesko", {{"zesko", 1}}, 5));
  EXPECT_EQ(spliced.occurrences, 0);
}

TEST_F(SpliceTest, RefusesSenselessWords) {
  EXPECT_THAT(SplicePrompt(*tokenizer_, "cat", {{"", 1}}, 5),
              StatusIs(kInvalid, HasSubstr("expected a UTF-8 name")));
  EXPECT_THAT(SplicePrompt(*tokenizer_, "cat", {{"zesko", 0}}, 5),
              StatusIs(kInvalid, HasSubstr("0 vectors")));
  EXPECT_THAT(SplicePrompt(*tokenizer_, "cat", {}, 2),
              StatusIs(kInvalid, HasSubstr("2 positions")));
}

TEST_F(SpliceTest, CheckWord_AcceptsNewWords) {
  for (const char* word : {"zesko", "<cat-toy>", "Ωmega", "cat2", "my_word", "日本", "cats"}) {
    EXPECT_OK(CheckWord(*tokenizer_, word)) << word;
  }
}

TEST_F(SpliceTest, CheckWord_RefusesWithAReason) {
  const auto expect = [&](std::string_view word, const char* reason) {
    EXPECT_THAT(CheckWord(*tokenizer_, word), StatusIs(kInvalid, HasSubstr(reason))) << word;
  };
  expect("", "the word is empty");
  expect("cat",
         "is already token 513 of the model's vocabulary: choose one the model does not know, such "
         "as 'cat-new' or '<cat>'");
  expect("CAT", "is already token 513");
  expect("*", "is already token");
  expect("two words", "has white space in it");
  expect("a\u3000b", "has white space in it");
  expect("a\tb", "has white space in it");
  expect("a\x1b", "the control character U+001B");
  expect("\xff", "is not UTF-8");
  expect("[name]", "has '[' in it");
  expect("a/b", "has '/' in it");
  expect("a:1.2", "has ':' in it");
  expect("neo!", "contains the text of one of the model's special tokens");
  expect("<|EndOfText|>", "has '|' in it");
  expect(std::string(101, 'z'), "has 101 bytes: expected at most 100");
}

TEST_F(SpliceTest, CheckPrompts) {
  ASSERT_OK_AND_ASSIGN(const auto use,
                       CheckPrompts(*tokenizer_, {"cat", "cat zesko", "zeskos"}, {"zesko", 1}, 12));
  EXPECT_THAT(use.without_word, ElementsAre(0, 2));
  EXPECT_THAT(CheckPrompts(*tokenizer_, {}, {"zesko", 1}, 8),
              StatusIs(kInvalid, HasSubstr("there are no prompts")));
  EXPECT_THAT(
      CheckPrompts(*tokenizer_, {"cat", "a cat"}, {"zesko", 1}, 8),
      StatusIs(kInvalid,
               HasSubstr("the word 'zesko' stands in none of the 2 prompts (the first is 'cat')")));
  EXPECT_THAT(CheckPrompts(*tokenizer_, {"zesko", "cat cat cat cat zesko"}, {"zesko", 2}, 7),
              StatusIs(kInvalid,
                       HasSubstr("prompt 2 of 2: the prompt 'cat cat cat cat zesko' is too long")));
}

}  // namespace
}  // namespace neolog
