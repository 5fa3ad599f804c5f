#include "common/text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/text/text_file.h"
#include "tests/common/text/small_vocabulary.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SmallVocabulary;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Compares with what transformers gave; returns the number of prompts.
size_t ExpectGolden(const Tokenizer& tokenizer, const std::string& golden) {
  const std::string text = ReadFileOrDie(SourcePath(golden));
  size_t count = 0;
  for (std::string_view line : SplitLines(text)) {
    if (line.empty()) continue;
    const auto object = nlohmann::json::parse(line);
    const auto prompt = object["text"].get<std::string>();
    EXPECT_EQ(tokenizer.Encode(prompt), object["ids"].get<std::vector<int64_t>>()) << prompt;
    ++count;
  }
  return count;
}

TEST(TokenizerGoldenTest, ClipMerges_EqualTransformers) {
  const std::string merges = testing::DependencyPath("clip/bpe_simple_vocab_16e6.txt.gz");
  if (!std::filesystem::exists(merges))
    GTEST_SKIP() << merges << " is not here: run deploy/install-deps.sh";
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::FromMergesFile(merges));
  EXPECT_EQ(tokenizer->vocabulary_size(), 49408);
  EXPECT_EQ(tokenizer->start_token(), 49406);
  EXPECT_EQ(tokenizer->pad_token(), 49407);
  EXPECT_GE(ExpectGolden(*tokenizer, "tests/golden/tokenizer/prompts.jsonl"), 1200u);
  // Published encodings.
  EXPECT_THAT(tokenizer->Encode("a photo of a fox"),
              ElementsAre(49406, 320, 1125, 539, 320, 3240, 49407));
  EXPECT_THAT(tokenizer->Encode("this is a test string of text"),
              ElementsAre(49406, 589, 533, 320, 1628, 9696, 539, 4160, 49407));
}

TEST(TokenizerGoldenTest, DemoFolder_EqualsTransformers) {
  ASSERT_OK_AND_ASSIGN(const auto tokenizer,
                       Tokenizer::FromFolder(SourcePath("configs/demo/model")));
  EXPECT_EQ(tokenizer->start_token(), tokenizer->vocabulary_size() - 2);
  EXPECT_EQ(tokenizer->end_token(), tokenizer->vocabulary_size() - 1);
  EXPECT_GE(ExpectGolden(*tokenizer, "tests/golden/tokenizer/demo.jsonl"), 100u);
}

std::unique_ptr<Tokenizer> Small(const std::vector<std::string>& merges = {"c a", "ca t</w>",
                                                                           "a t</w>", "' s</w>"}) {
  auto tokenizer = Tokenizer::FromFiles(SmallVocabulary(merges), "small");
  EXPECT_OK(tokenizer);
  return std::move(tokenizer).value();
}

std::vector<int64_t> Ids(const Tokenizer& tokenizer, const std::vector<std::string>& tokens) {
  std::vector<int64_t> ids = {tokenizer.start_token()};
  for (const std::string& token : tokens) ids.push_back(tokenizer.FindToken(token).value_or(-1));
  ids.push_back(tokenizer.end_token());
  return ids;
}

TEST(TokenizerTest, MergesByRank_EndOfWordIsPartOfTheToken) {
  const auto tokenizer = Small();
  EXPECT_EQ(tokenizer->Encode(""), Ids(*tokenizer, {}));
  EXPECT_EQ(tokenizer->Encode("cat"), Ids(*tokenizer, {"cat</w>"}));
  EXPECT_EQ(tokenizer->Encode("CAT\n cat"), Ids(*tokenizer, {"cat</w>", "cat</w>"}));
  EXPECT_EQ(tokenizer->Encode("cats"), Ids(*tokenizer, {"ca", "t", "s</w>"}));
  EXPECT_EQ(tokenizer->Encode("cat's"), Ids(*tokenizer, {"cat</w>", "'s</w>"}));
  EXPECT_EQ(tokenizer->Encode("!'s"), Ids(*tokenizer, {"!", "'</w>", "s</w>"}))
      << "a contraction starts a piece";
  EXPECT_EQ(tokenizer->Encode("12"), Ids(*tokenizer, {"1</w>", "2</w>"})) << "digits stand alone";
  EXPECT_EQ(tokenizer->Encode("..."), Ids(*tokenizer, {".", ".", ".</w>"}));
  EXPECT_EQ(tokenizer->Encode("é"), Ids(*tokenizer, {"Ã", "©</w>"}))
      << "bytes as printable characters";
  EXPECT_EQ(tokenizer->Encode("a\xff"), tokenizer->Encode("a\ufffd"));
}

TEST(TokenizerTest, LowestRankFirst_LeftmostAmongEquals) {
  const auto tokenizer = Small({"a a", "aa a</w>", "b c", "a b"});
  EXPECT_EQ(tokenizer->Encode("aaa"), Ids(*tokenizer, {"aaa</w>"}));
  EXPECT_EQ(tokenizer->Encode("abcx"), Ids(*tokenizer, {"a", "bc", "x</w>"}));
}

TEST(TokenizerTest, LongWord_IsNotQuadratic) {
  const auto tokenizer = Small({"a a", "aa aa"});
  EXPECT_EQ(tokenizer->Encode(std::string(400'001, 'a')).size(), 2 + 100'000 + 1u);
}

TEST(TokenizerTest, TextOfASpecialToken_BecomesThatToken) {
  const auto tokenizer = Small();
  const std::vector<int64_t> expected =
      Ids(*tokenizer, {"cat</w>", "<|endoftext|>", "cat</w>", "<|startoftext|>"});
  EXPECT_EQ(tokenizer->Encode("cat<|endoftext|>cat <|startoftext|>"), expected);
  EXPECT_EQ(tokenizer->Encode("cat<|EndOfText|>cat <|STARTOFTEXT|>"), expected)
      << "looked for in the normalised text";
  EXPECT_EQ(tokenizer->Encode("<|endoftext|").size(), 2 + 2 + 9 + 1u) << "not quite the token";
}

// What transformers 4.57.3 gives for folders whose files say these things.
TEST(TokenizerTest, AddedTokens_FollowTheFiles) {
  TokenizerFiles files = SmallVocabulary({"c a", "ca t</w>"});
  files.tokenizer_config_json = R"({"added_tokens_decoder":{
      "0":{"content":"!","normalized":false,"special":true},
      "900":{"content":"Foo","normalized":true,"single_word":true},
      "901":{"content":"foobar","normalized":true},
      "902":{"content":"Bar","normalized":false}},
      "pad_token":"!"})";
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::FromFiles(files, "small"));
  EXPECT_EQ(tokenizer->pad_token(), 0);
  EXPECT_EQ(tokenizer->vocabulary_size(), 903);
  const auto ids = [&](std::vector<int64_t> inner) {
    inner.insert(inner.begin(), tokenizer->start_token());
    inner.push_back(tokenizer->end_token());
    return inner;
  };
  const int64_t cat = *tokenizer->FindToken("cat</w>");
  EXPECT_EQ(tokenizer->Encode("cat!"), ids({cat, 0})) << "not '!</w>'";
  EXPECT_EQ(tokenizer->Encode("cat foo"), ids({cat, 900}));
  EXPECT_EQ(tokenizer->Encode("FOO-cat"), ids({900, *tokenizer->FindToken("-</w>"), cat}));
  EXPECT_EQ(tokenizer->Encode("foobar"), ids({901})) << "the longest";
  EXPECT_EQ(tokenizer->Encode("food").size(), 6u) << "not a single word";
  EXPECT_EQ(tokenizer->Encode("catBarcat"), ids({cat, 902, cat}));
  EXPECT_EQ(tokenizer->Encode("bar").size(), 5u) << "not normalised: case counts";
}

TEST(TokenizerTest, PadToken) {
  TokenizerFiles files = SmallVocabulary({});
  files.special_tokens_map_json = R"({"pad_token":"!"})";
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::FromFiles(files, "small"));
  EXPECT_EQ(tokenizer->pad_token(), 0);
  EXPECT_EQ(Small()->pad_token(), Small()->end_token());
}

TEST(TokenizerTest, Split_FindsLearnedWords) {
  const auto tokenizer = Small();
  const auto shape = [&](std::string_view text, const std::vector<std::string>& words) {
    std::string shape;
    for (const PromptPart& part : tokenizer->Split(text, words)) {
      shape += part.word < 0 ? "t" + std::to_string(part.tokens.size())
                             : "W" + std::to_string(part.word);
      shape += " ";
    }
    return shape;
  };
  EXPECT_EQ(shape("cat zesko cat", {"zesko"}), "t1 W0 t1 ");
  EXPECT_EQ(shape("zesko", {"zesko"}), "W0 ");
  EXPECT_EQ(shape("Zesko zeSKO", {"zesKO"}), "W0 W0 ");
  EXPECT_EQ(shape("zesko's (zesko) zesko-cat \"zesko\", zesko.", {"zesko"}),
            "W0 t2 W0 t1 W0 t3 W0 t2 W0 t1 ");
  EXPECT_EQ(shape("zeskos", {"zesko"}), "t6 ");
  EXPECT_EQ(shape("azesko", {"zesko"}), "t6 ");
  EXPECT_EQ(shape("zesko1 zesko_ 1zesko", {"zesko"}), "t18 ");
  EXPECT_EQ(shape("zesko\u0308x", {"zesko"}), "t7 ") << "o with a mark is another letter";
  EXPECT_EQ(shape("caf\u00e9 cafe\u0301", {"cafe\u0301"}), "W0 W0 ") << "either normalisation form";
  EXPECT_EQ(shape("a<toy>b <toy><toy>", {"<toy>"}), "t1 W0 t1 W0 W0 ")
      << "punctuation needs no boundary";
  EXPECT_EQ(shape("zesko-cat zesko", {"zesko", "zesko-cat"}), "W1 W0 ") << "the longest";
  EXPECT_EQ(shape("zesko<|endoftext|>zesko", {"zesko"}), "W0 t1 W0 ");
  EXPECT_EQ(shape("", {"zesko"}), "");
}

TEST(TokenizerTest, ManyThreadsAgree) {
  const auto tokenizer = Small();
  const auto expected = tokenizer->Encode("cat's cat é 12 <|endoftext|>");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i)
        EXPECT_EQ(tokenizer->Encode("cat's cat é 12 <|endoftext|>"), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct BadFiles {
  std::string name;
  TokenizerFiles files;
  absl::StatusCode code;
  std::string message;
};
class TokenizerBadFilesTest : public ::testing::TestWithParam<BadFiles> {};

TEST_P(TokenizerBadFilesTest, AreRefused) {
  EXPECT_THAT(Tokenizer::FromFiles(GetParam().files, "a/folder"),
              StatusIs(GetParam().code, AllOf(HasSubstr("reading the tokenizer in 'a/folder': "),
                                              HasSubstr(GetParam().message))));
}

std::vector<BadFiles> AllBadFiles() {
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  std::vector<BadFiles> cases;
  const auto add = [&](const char* name, absl::StatusCode code, const char* message, auto change) {
    BadFiles bad{name, SmallVocabulary({"c a"}), code, message};
    change(bad.files);
    cases.push_back(bad);
  };
  add("VocabNotJson", kDataLoss, "vocab.json: it is not JSON", [](auto& f) { f.vocab_json = "{"; });
  add("VocabNul", kDataLoss, "vocab.json: byte 2 is NUL",
      [](auto& f) { f.vocab_json = std::string("{}\0", 3); });
  add("VocabList", kDataLoss, "vocab.json: it is not a JSON object",
      [](auto& f) { f.vocab_json = "[]"; });
  add("VocabBadId", kDataLoss, "vocab.json: the id of 'a' is -1",
      [](auto& f) { f.vocab_json = R"({"a":-1})"; });
  add("VocabHugeId", kDataLoss, "the id of 'a' is 18446744073709551615",
      [](auto& f) { f.vocab_json = R"({"a":18446744073709551615})"; });
  add("VocabWithoutBytes", kInvalid, "the vocabulary lacks '<|startoftext|>', the bos_token",
      [](auto& f) { f.vocab_json = "{}"; });
  add("VocabWithoutSymbols", kInvalid, "the symbols of byte 0",
      [](auto& f) { f.vocab_json = R"({"<|startoftext|>":0,"<|endoftext|>":1})"; });
  add("MergeOfThree", kDataLoss,
      "merges.txt: line 3: expected two tokens with a space between, found 'a b c'",
      [](auto& f) { f.merges_txt += "a b c\n"; });
  add("MergeOfOne", kDataLoss, "line 3: expected two tokens",
      [](auto& f) { f.merges_txt += "ab\n"; });
  add("MergeUnknown", kInvalid,
      "merge 2 ('x' and 'y') names or makes a token that the vocabulary lacks",
      [](auto& f) { f.merges_txt += "x y\n"; });
  add("MergesNotUtf8", kDataLoss, "merges.txt: it is not UTF-8",
      [](auto& f) { f.merges_txt += "\xff"; });
  add("ConfigNotJson", kDataLoss, "tokenizer_config.json: it is not JSON",
      [](auto& f) { f.tokenizer_config_json = "x"; });
  add("ConfigBadAddedId", kDataLoss, "added_tokens_decoder: entry 'x'", [](auto& f) {
    f.tokenizer_config_json = R"({"added_tokens_decoder":{"x":{"content":"a"}}})";
  });
  add("ConfigAddedWithoutContent", kDataLoss, "added_tokens_decoder: entry '1'",
      [](auto& f) { f.tokenizer_config_json = R"({"added_tokens_decoder":{"1":{}}})"; });
  add("AddedBadId", kDataLoss, "added_tokens.json: the id of 'w'",
      [](auto& f) { f.added_tokens_json = R"({"w":1.5})"; });
  add("UnknownStart", kInvalid, "the vocabulary lacks '<s>', the bos_token",
      [](auto& f) { f.special_tokens_map_json = R"({"bos_token":"<s>"})"; });
  return cases;
}
INSTANTIATE_TEST_SUITE_P(All, TokenizerBadFilesTest, ::testing::ValuesIn(AllBadFiles()),
                         [](const auto& info) { return info.param.name; });

TEST(TokenizerTest, FromFolder_NamesTheMissingFile) {
  ScopedDir dir;
  EXPECT_THAT(Tokenizer::FromFolder(dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir.File("vocab.json"))));
  WriteFileOrDie(dir.File("vocab.json"), "{}");
  EXPECT_THAT(Tokenizer::FromFolder(dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir.File("merges.txt"))));
}

TEST(TokenizerTest, MergesFile_IsWhereTheEnvironmentSays) {
  setenv("NEOLOG_CLIP_MERGES", "/somewhere/merges.gz", 1);
  EXPECT_THAT(Tokenizer::FindMergesFile(), testing::IsOk());
  EXPECT_EQ(Tokenizer::FindMergesFile().value(), "/somewhere/merges.gz");
  unsetenv("NEOLOG_CLIP_MERGES");
}

// SD 2 and SDXL's second encoder: the pad token is a token of its own wherever it stands, as in the
// published tokenizer_config.json.
TEST(TokenizerGoldenTest, ClipMerges_TakeAnotherPadToken) {
  const std::string merges = testing::DependencyPath("clip/bpe_simple_vocab_16e6.txt.gz");
  if (!std::filesystem::exists(merges))
    GTEST_SKIP() << merges << " is not here: run deploy/install-deps.sh";
  ASSERT_OK_AND_ASSIGN(const auto first, Tokenizer::FromMergesFile(merges));
  ASSERT_OK_AND_ASSIGN(const auto second, Tokenizer::FromMergesFile(merges, "!"));
  EXPECT_EQ(second->pad_token(), 0);
  EXPECT_THAT(first->Encode("fox!"), ElementsAre(49406, 3240, 256, 49407));
  EXPECT_THAT(second->Encode("fox!"), ElementsAre(49406, 3240, 0, 49407));
}

TEST(TokenizerTest, FromMergesFile_RefusesDamage) {
  ScopedDir dir;
  EXPECT_THAT(Tokenizer::FromMergesFile(dir.File("none.gz")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.gz")));
  WriteFileOrDie(dir.File("a.gz"), "not gzip");
  EXPECT_THAT(Tokenizer::FromMergesFile(dir.File("a.gz")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("it is not gzip")));
}

}  // namespace
}  // namespace neolog
