#include "common/text/splice.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

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
constexpr PromptRules kChunked{.long_prompts = LongPrompts::kChunk};

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
  EXPECT_EQ(spliced.lost, 0);
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
  EXPECT_EQ(spliced.lost, 2);
}

TEST_F(SpliceTest, ExactFit_IsNotTruncated) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "cat zesko", {{"zesko", 2}}, 5));
  EXPECT_THAT(spliced.slots, ElementsAre(-1, -1, 0, 1, -1));
  EXPECT_EQ(spliced.lost, 0);
}

TEST_F(SpliceTest, AWordIsNeverCut_ALaterOneIsLeftOutWithWhatFollows) {
  ASSERT_OK_AND_ASSIGN(const auto spliced,
                       SplicePrompt(*tokenizer_, "zesko cat zesko cat", {{"zesko", 2}}, 6));
  EXPECT_THAT(spliced.slots, ElementsAre(-1, 0, 1, -1, -1, -1));
  EXPECT_THAT(spliced.input_ids, ElementsAre(start_, 0, 0, cat_, end_, 0));
  EXPECT_EQ(spliced.occurrences, 1);
  EXPECT_EQ(spliced.lost, 3) << "two rows and a token";
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
  EXPECT_EQ(spliced.lost, 2);
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
  EXPECT_THAT(use.cut, ElementsAre());
  EXPECT_THAT(CheckPrompts(*tokenizer_, {}, {"zesko", 1}, 8),
              StatusIs(kInvalid, HasSubstr("there are no prompts")));
  EXPECT_THAT(
      CheckPrompts(*tokenizer_, {"cat", "a cat"}, {"zesko", 1}, 8),
      StatusIs(kInvalid,
               HasSubstr("the word 'zesko' stands in none of the 2 prompts (the first is 'cat')")));
  EXPECT_THAT(CheckPrompts(*tokenizer_, {"zesko", "cat cat cat cat zesko"}, {"zesko", 2}, 7),
              StatusIs(kInvalid,
                       HasSubstr("prompt 2 of 2: the prompt 'cat cat cat cat zesko' is too long")));
  ASSERT_OK_AND_ASSIGN(
      const auto cut,
      CheckPrompts(*tokenizer_, {"zesko cat cat", "zesko", "zesko cat cat cat"}, {"zesko", 1}, 4));
  EXPECT_THAT(cut.cut, ElementsAre(0, 2));
  EXPECT_EQ(cut.most_lost, 2);
  EXPECT_EQ(cut.chunks, 1);
  ASSERT_OK_AND_ASSIGN(
      const auto chunked,
      CheckPrompts(*tokenizer_, {"zesko cat cat", "zesko", "cat cat cat cat zesko"}, {"zesko", 1},
                   4, kChunked));
  EXPECT_THAT(chunked.cut, ElementsAre());
  EXPECT_EQ(chunked.chunks, 3);
}

// A prompt's chunks as text: what stands between start and end token, one chunk a bar. "c" is a
// cat, "," a comma, "0", "1", ... a row; a weight follows where it is not 1.
class ChunksTest : public SpliceTest {
 protected:
  std::string Shown(const SplicedPrompt& spliced, size_t positions) {
    std::string text;
    const int64_t comma = *tokenizer_->FindToken(",</w>");
    for (size_t first = 0; first < spliced.input_ids.size(); first += positions) {
      if (first > 0) text += " | ";
      EXPECT_EQ(spliced.input_ids[first], start_);
      size_t i = first + 1;
      for (; spliced.slots[i] >= 0 || spliced.input_ids[i] != end_; ++i) {
        text += spliced.slots[i] >= 0           ? std::to_string(spliced.slots[i])
                : spliced.input_ids[i] == cat_  ? "c"
                : spliced.input_ids[i] == comma ? ","
                                                : "?";
        if (!spliced.weights.empty() && spliced.weights[i] != 1)
          text += fmt::format("*{:.4g}", spliced.weights[i]);
      }
      for (; i < first + positions; ++i) {
        EXPECT_EQ(spliced.slots[i], -1);
        if (spliced.input_ids[i] != end_) {
          EXPECT_EQ(spliced.input_ids[i], tokenizer_->pad_token());
        }
        if (!spliced.weights.empty()) {
          EXPECT_EQ(spliced.weights[i], 1);
        }
      }
    }
    EXPECT_EQ(spliced.input_ids.size() % positions, 0u);
    EXPECT_EQ(spliced.slots.size(), spliced.input_ids.size());
    return text;
  }
  std::string Chunked(std::string_view prompt, int64_t vectors, int64_t positions,
                      PromptRules rules = kChunked) {
    const auto spliced = SplicePrompt(*tokenizer_, prompt, {{"zesko", vectors}}, positions, rules);
    EXPECT_OK(spliced);
    if (!spliced.ok()) return "";
    EXPECT_EQ(spliced->lost, 0);
    return Shown(*spliced, static_cast<size_t>(positions));
  }
};

std::string Cats(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += " cat";
  return text;
}

TEST_F(ChunksTest, AreCutWhereA1111CutsThem) {
  struct Case {
    const char* prompt;
    int64_t vectors;
    const char* chunks;  // of 4 tokens
  };
  for (const Case& c : {
           Case{"", 1, ""}, Case{"cat cat", 1, "cc"}, Case{"cat cat cat cat", 1, "cccc"},
           Case{"cat cat cat cat cat", 1, "cccc | c"},
           // What follows the last comma goes into the next chunk.
           Case{"cat, cat cat cat", 1, "c, | ccc"}, Case{"cat, cat, cat", 1, "c,c, | c"},
           Case{"cat,,, cat cat", 1, "c??, | cc"},  // a comma that ends a word
           Case{", cat cat cat cat", 1, ", | cccc"},
           // A comma that does not fit opens the next chunk, and is not come back to there.
           Case{"cat cat cat cat, cat cat cat cat", 1, "cccc | ,ccc | c"},
           Case{"cat, cat cat, cat cat cat", 1, "c,cc | ,ccc"},
           // Rows stay together.
           Case{"cat cat zesko cat", 2, "cc01 | c"}, Case{"cat cat cat zesko cat", 2, "ccc | 01c"},
           Case{"cat, cat zesko cat", 2, "c,c | 01c"}, Case{"cat cat, zesko cat", 1, "cc, | 0c"},
           Case{"zesko zesko zesko", 2, "0101 | 01"}, Case{"zesko zesko", 4, "0123 | 0123"},
           // When the phrase they stand in moves, they move with it.
           Case{"cat, zesko cat", 2, "c, | 01c"}, Case{"cat, cat cat zesko", 2, "c, | cc01"},
           Case{"cat, cat cat zesko", 3, "c, | cc | 012"},
           Case{"BREAK cat", 1, "???? | ?c"},  // without the syntax, a word of five letters
       }) {
    EXPECT_EQ(Chunked(c.prompt, c.vectors, 6), c.chunks) << c.prompt << ", " << c.vectors;
  }
}

TEST_F(ChunksTest, OfClipsLength_LookBackTwentyTokensForAComma) {
  const auto chunks = [&](int before, int behind) {
    return Chunked(Cats(before) + "," + Cats(behind), 1, 77);
  };
  const std::string full(75, 'c');
  EXPECT_EQ(Chunked(Cats(75), 1, 77), full);
  EXPECT_EQ(Chunked(Cats(76), 1, 77), full + " | c");
  // Seen from the token that does not fit, the comma is 20 tokens back, or 21.
  EXPECT_EQ(chunks(55, 20), std::string(55, 'c') + ", | " + std::string(20, 'c'));
  EXPECT_EQ(chunks(54, 21), std::string(54, 'c') + "," + std::string(20, 'c') + " | c");
  EXPECT_EQ(chunks(55, 19), std::string(55, 'c') + "," + std::string(19, 'c'));
}

TEST_F(ChunksTest, OfPromptsThatFit_AreTheTruncatedPrompt) {
  for (const char* prompt : {"", "cat, cat", "cat zesko cat", "zesko"}) {
    ASSERT_OK_AND_ASSIGN(const auto cut, SplicePrompt(*tokenizer_, prompt, {{"zesko", 2}}, 9));
    ASSERT_OK_AND_ASSIGN(const auto chunked,
                         SplicePrompt(*tokenizer_, prompt, {{"zesko", 2}}, 9, kChunked));
    EXPECT_EQ(chunked.input_ids, cut.input_ids);
    EXPECT_EQ(chunked.slots, cut.slots);
    EXPECT_TRUE(chunked.weights.empty());
  }
}

TEST_F(ChunksTest, AreFilledUpWithEmptyOnes) {
  PromptRules rules = kChunked;
  rules.min_chunks = 3;
  EXPECT_EQ(Chunked("cat zesko", 1, 6, rules), "c0 |  | ");
  EXPECT_EQ(Chunked("", 1, 6, rules), " |  | ");
  EXPECT_EQ(Chunked(Cats(15), 1, 6, rules), "cccc | cccc | cccc | ccc");
  ASSERT_OK_AND_ASSIGN(const auto empty, SplicePrompt(*tokenizer_, "", {}, 5));
  EXPECT_THAT(empty.input_ids, ElementsAre(start_, end_, 0, 0, 0));
}

TEST_F(ChunksTest, WordLongerThanAChunk_IsRefused) {
  EXPECT_THAT(SplicePrompt(*tokenizer_, "cat zesko", {{"zesko", 5}}, 6, kChunked),
              StatusIs(kInvalid, HasSubstr("the 5 vectors of 'zesko' would begin at token 1, and a "
                                           "chunk has 4; use fewer vectors")));
}

TEST_F(ChunksTest, Emphasis_WeighsTokensAndRows) {
  constexpr PromptRules kCut{.emphasis = Emphasis::kA1111};
  constexpr PromptRules kBoth{LongPrompts::kChunk, Emphasis::kA1111};
  EXPECT_EQ(Chunked("cat (cat zesko:1.5) cat", 2, 8, kCut), "cc*1.50*1.51*1.5c");
  EXPECT_EQ(Chunked("(cat [cat])", 1, 8, kCut), "c*1.1c");
  EXPECT_EQ(Chunked("[zesko]", 1, 8, kCut), "0*0.9091");
  EXPECT_EQ(Chunked("(zesko) (cat:1.1), cat", 1, 8, kCut), "0*1.1c*1.1,c");
  EXPECT_EQ(Chunked("cat (cat cat cat cat:2)", 1, 6, kBoth), "cc*2c*2c*2 | c*2");
  EXPECT_EQ(Chunked("cat, (cat cat cat:2)", 1, 6, kBoth), "c, | c*2c*2c*2");
  EXPECT_EQ(Chunked("cat BREAK (cat BREAK zesko:2) BREAK", 1, 6, kBoth), "c | c*2 | 0*2");
  EXPECT_EQ(Chunked("BREAK cat", 1, 6, kBoth), " | c");
  ASSERT_OK_AND_ASSIGN(const auto plain, SplicePrompt(*tokenizer_, "cat (cat:1) \\(", {}, 8, kCut));
  EXPECT_TRUE(plain.weights.empty());
  EXPECT_THAT(SplicePrompt(*tokenizer_, "cat BREAK cat", {}, 8, kCut),
              StatusIs(kInvalid, AllOf(HasSubstr("BREAK"), HasSubstr("chunk"))));
  EXPECT_THAT(SplicePrompt(*tokenizer_, "(cat:1.2.3)", {}, 8, kCut),
              StatusIs(kInvalid, AllOf(HasSubstr("'(cat:1.2.3)'"), HasSubstr("'1.2.3'"))));
}

TEST(PromptRulesTest, AreReadByName) {
  ASSERT_OK_AND_ASSIGN(const PromptRules none, PromptRulesOf("", ""));
  EXPECT_EQ(none.long_prompts, LongPrompts::kTruncate);
  EXPECT_EQ(none.emphasis, Emphasis::kNone);
  ASSERT_OK_AND_ASSIGN(const PromptRules rules, PromptRulesOf("chunk", "a1111"));
  EXPECT_EQ(rules.long_prompts, LongPrompts::kChunk);
  EXPECT_EQ(rules.emphasis, Emphasis::kA1111);
  EXPECT_OK(PromptRulesOf("truncate", "none"));
  EXPECT_THAT(PromptRulesOf("cut", ""), StatusIs(kInvalid, HasSubstr("truncate or chunk")));
  EXPECT_THAT(PromptRulesOf("", "A1111"), StatusIs(kInvalid, HasSubstr("none or a1111")));
}

}  // namespace
}  // namespace neolog
