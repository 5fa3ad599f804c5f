#include "tests/judge/judge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"
#include "tests/judge/report.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::judge {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class JudgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(judge_, Judge::Load(SourcePath("tests/judge/judge.safetensors")));
  }
  std::unique_ptr<Judge> judge_;
};

TEST_F(JudgeTest, LogitsEqualTheReference) {
  ASSERT_OK_AND_ASSIGN(const auto golden,
                       SafetensorsFile::Open(SourcePath("tests/judge/judge_golden.safetensors")));
  ASSERT_OK_AND_ASSIGN(const auto expected, ToFloat32(golden->tensors().at("logits")));
  const auto pictures = golden->tensors().at("pictures").data;
  const auto labels = golden->tensors().at("labels").data;
  ASSERT_EQ(pictures.size(), 8u * kSide * kSide * 3);
  for (size_t n = 0; n < 8; ++n) {
    const std::span<const uint8_t> rgb(
        reinterpret_cast<const uint8_t*>(pictures.data()) + n * kSide * kSide * 3,
        kSide * kSide * 3);
    const std::vector<float> logits = judge_->Logits(rgb);
    ASSERT_EQ(logits.size(), 27u);
    // Sums of a few hundred terms in another order: 1e-4 of the largest logit (about 20) is far
    // above their rounding.
    for (size_t i = 0; i < 27; ++i)
      EXPECT_NEAR(logits[i], expected[n * 27 + i], 2e-3) << n << " " << i;
    const Verdict verdict = judge_->Look(rgb);
    for (size_t q = 0; q < 4; ++q) {
      int64_t label = 0;
      std::memcpy(&label, labels.data() + (n * 4 + q) * 8, 8);
      const Question& question = judge_->questions()[q];
      EXPECT_EQ(verdict.at(question.name), question.answers[static_cast<size_t>(label)]);
    }
  }
}

// Every committed render of the demo's world: the learning pictures of all held-out objects.
TEST_F(JudgeTest, CommittedRenders_AtLeast99PercentRight) {
  const std::string folder = SourcePath("tests/bench/held_out");
  const auto lists = nlohmann::json::parse(ReadFileOrDie(folder + "/objects.json"));
  int right = 0;
  size_t all = 0;
  const auto look = [&](const std::string& description, const std::string& path) {
    ASSERT_OK_AND_ASSIGN(const Verdict expected, judge_->ParseExpectation(description));
    ASSERT_OK_AND_ASSIGN(const Row row, JudgeRow(*judge_, expected, "renders", {path}));
    right += row.right();
    all += row.pictures.size();
  };
  for (const auto& object : lists["report"])
    look(object["description"], folder + "/" + object["word"].get<std::string>());
  look("purple dotted triangle", SourcePath("configs/demo/pictures/zesko"));
  look("orange dotted square", SourcePath("configs/demo/pictures/wimbra"));
  EXPECT_GE(all, 84u);
  EXPECT_GE(right, 0.99 * static_cast<double>(all)) << right << " of " << all;
}

TEST_F(JudgeTest, ParseExpectation) {
  EXPECT_THAT(
      judge_->ParseExpectation("purple dotted triangle").value(),
      ElementsAre(Pair("colour", "purple"), Pair("pattern", "dotted"), Pair("shape", "triangle")));
  EXPECT_THAT(judge_->ParseExpectation(" navy  star ").value(),
              ElementsAre(Pair("background", "navy"), Pair("shape", "star")));
  EXPECT_THAT(judge_->ParseExpectation(""), StatusIs(kInvalid, HasSubstr("nothing is expected")));
  EXPECT_THAT(
      judge_->ParseExpectation("purple cat"),
      StatusIs(kInvalid, AllOf(HasSubstr("does not know 'cat'"), HasSubstr("shape: circle"))));
  EXPECT_THAT(
      judge_->ParseExpectation("red blue"),
      StatusIs(kInvalid, HasSubstr("'red' and 'blue' are two answers to one question (colour)")));
}

TEST_F(JudgeTest, Agrees_OnWhatIsExpectedOnly) {
  const Verdict verdict = {{"shape", "star"}, {"colour", "red"}, {"background", "navy"}};
  EXPECT_TRUE(Agrees(verdict, {{"shape", "star"}}));
  EXPECT_FALSE(Agrees(verdict, {{"shape", "star"}, {"colour", "blue"}}));
  EXPECT_FALSE(Agrees(verdict, {{"pattern", "plain"}}));
  EXPECT_EQ(Describe(verdict), "red star on navy");
}

TEST_F(JudgeTest, Rows_NameTheFileThatIsWrong) {
  ScopedDir dir;
  const Verdict expected = {{"shape", "star"}};
  EXPECT_THAT(JudgeRow(*judge_, expected, "before", {dir.path()}),
              StatusIs(kInvalid, HasSubstr("the row 'before' has no pictures")));
  EXPECT_THAT(JudgeRow(*judge_, expected, "before", {dir.File("no.png")}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no.png")));
  WriteFileOrDie(dir.File("bad.png"), "no picture");
  EXPECT_THAT(JudgeRow(*judge_, expected, "before", {dir.path()}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bad.png")));
  ASSERT_OK(WritePng(Picture::Filled(32, 64, {0, 0, 0}), dir.File("bad.png")));
  EXPECT_THAT(JudgeRow(*judge_, expected, "before", {dir.path()}),
              StatusIs(kInvalid, HasSubstr("bad.png' has 32 x 64 pixels")));
}

TEST_F(JudgeTest, Grid_FramesSayWhatIsRight) {
  ASSERT_OK_AND_ASSIGN(const Verdict expected, judge_->ParseExpectation("purple dotted triangle"));
  const std::string pictures = SourcePath("configs/demo/pictures/");
  ASSERT_OK_AND_ASSIGN(const Row before,
                       JudgeRow(*judge_, expected, "before", {pictures + "wimbra/1.png"}));
  ASSERT_OK_AND_ASSIGN(const Row after, JudgeRow(*judge_, expected, "after", {pictures + "zesko"}));
  EXPECT_EQ(before.right(), 0);
  EXPECT_EQ(after.right(), 6);
  const Picture grid = Grid("zesko", {before, after});
  const auto count = [&](Colour colour) {
    size_t n = 0;
    for (size_t i = 0; i < grid.rgb.size(); i += 3)
      n += std::equal(colour.begin(), colour.end(),
                      grid.rgb.begin() + static_cast<std::ptrdiff_t>(i));
    return n;
  };
  constexpr size_t kFramePixels = 198 * 198 - 192 * 192;
  EXPECT_EQ(count({207, 63, 55}), kFramePixels);
  EXPECT_EQ(count({46, 160, 67}), 6 * kFramePixels);
  ScopedDir dir;
  ASSERT_OK(WritePng(grid, dir.File("grid.png")));
  ASSERT_OK_AND_ASSIGN(const Picture read, ReadPng(dir.File("grid.png")));
  EXPECT_EQ(read.rgb, grid.rgb);
  const auto report = nlohmann::json::parse(ReportJson(expected, {before, after}));
  EXPECT_EQ(report["rows"][1]["right"], 6);
  EXPECT_EQ(report["rows"][0]["pictures"][0]["shape"], "square");
}

TEST_F(JudgeTest, Load_RefusesOtherFiles) {
  ScopedDir dir;
  EXPECT_THAT(Judge::Load(dir.File("none")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
  WriteFileOrDie(dir.File("empty.safetensors"), SerializeSafetensors({}, {}).value());
  EXPECT_THAT(Judge::Load(dir.File("empty.safetensors")),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("the tensor 'conv.0.weight' is missing or is not [16, 3, 5, 5]")));
}

}  // namespace
}  // namespace neolog::judge
