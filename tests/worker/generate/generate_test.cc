#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/image/png.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "worker/generate/draw.h"
#include "worker/generate/draw_command.h"
#include "worker/generate/picture.h"
#include "worker/torch_support/runtime.h"

namespace neolog::generate {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

class GenerateTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_OK(torch_support::SetUpRuntime({.threads = 1}));
    const std::string path = SourcePath("configs/demo/model");
    auto model = diffusion::LoadModel(path, {});
    ASSERT_OK(model);
    model_ = model->release();
    auto tokenizers = LoadTokenizers(OpenCheckpoint(path, {}).value());
    ASSERT_OK(tokenizers);
    tokenizers_ = new dataset::Tokenizers(*std::move(tokenizers));
  }

  PictureRequest Request(const std::string& prompt) const {
    PictureRequest request;
    request.prompts = dataset::EncodePicturePrompts(*tokenizers_, prompt, "", {}, 77).value();
    request.rows = at::zeros({0});
    request.sampler = "ddim";
    request.steps = 8;
    request.cfg = 4;
    request.side = 64;
    return request;
  }

  static diffusion::Model* model_;
  static dataset::Tokenizers* tokenizers_;
};
diffusion::Model* GenerateTest::model_ = nullptr;
dataset::Tokenizers* GenerateTest::tokenizers_ = nullptr;

TEST_F(GenerateTest, ASeed_GivesOnePicture) {
  PictureRequest request = Request("a photo of a red square on a sky background");
  const at::Tensor picture = DrawPicture(*model_, request).value();
  EXPECT_EQ(picture.sizes(), (std::vector<int64_t>{3, 64, 64}));
  EXPECT_TRUE(at::equal(DrawPicture(*model_, request).value(), picture));
  request.seed = 2;
  EXPECT_FALSE(at::equal(DrawPicture(*model_, request).value(), picture));
}

// The prompt is heeded: a red thing has more red than blue in the middle, a blue thing the other
// way round.
TEST_F(GenerateTest, ThePrompt_IsDrawn) {
  const auto redness = [&](const std::string& colour) {
    const at::Tensor picture = DrawPicture(*model_, Request("a photo of a " + colour +
                                                            " plain square on a grey background"))
                                   .value();
    const at::Tensor middle = picture.narrow(1, 24, 16).narrow(2, 24, 16).mean({1, 2});
    return middle[0].item<float>() - middle[2].item<float>();
  };
  EXPECT_GT(redness("red"), redness("blue") + 0.2);
}

TEST_F(GenerateTest, StoppedDrawing_IsAborted) {
  int steps = 0;
  const auto stopped = DrawPicture(*model_, Request("a square"), [&] { return ++steps < 4; });
  EXPECT_THAT(stopped, StatusIs(absl::StatusCode::kAborted, HasSubstr("interrupted")));
  EXPECT_EQ(steps, 4);
}

TEST_F(GenerateTest, UnusableRequests_SayWhy) {
  PictureRequest request = Request("a square");
  request.sampler = "magic";
  EXPECT_THAT(DrawPicture(*model_, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("magic")));
  request = Request("a square");
  request.side = 66;
  EXPECT_THAT(DrawPicture(*model_, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("66 pixels")));
}

TEST_F(GenerateTest, Parameters_AreA1111s) {
  PictureRequest request = Request("a photo of a square");
  request.sampler = "euler_a";
  request.cfg = 7.5;
  request.seed = 42;
  request.model_hash = "0123456789";
  EXPECT_EQ(
      PictureParameters(request),
      "a photo of a square\nSteps: 8, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 64x64, "
      "Model hash: 0123456789, Version: neolog 0.1.0");
  request.prompts.negative.text = "blurry";
  EXPECT_THAT(PictureParameters(request), HasSubstr("a square\nNegative prompt: blurry\nSteps: 8"));
}

TEST_F(GenerateTest, Emphasis_ChangesThePicture_AndOneIsNone) {
  const auto draw = [&](const std::string& prompt, Emphasis emphasis) {
    PictureRequest request = Request("");
    request.prompts =
        dataset::EncodePicturePrompts(*tokenizers_, prompt, "", {}, 77, {.emphasis = emphasis})
            .value();
    request.steps = 2;
    return DrawPicture(*model_, request).value();
  };
  const at::Tensor plain = draw("a red square", Emphasis::kNone);
  EXPECT_TRUE(at::equal(draw("a red square", Emphasis::kA1111), plain));
  EXPECT_TRUE(at::equal(draw("a (red:1.0) square", Emphasis::kA1111), plain));
  EXPECT_FALSE(at::equal(draw("a (red:1.5) square", Emphasis::kA1111), plain));
  EXPECT_FALSE(at::equal(draw("a [red] square", Emphasis::kA1111), plain));
}

TEST_F(GenerateTest, LongPrompts_AreDrawnWhole_WithAShortNegativePrompt) {
  std::string prompt = "a red square";
  for (int i = 0; i < 80; ++i) prompt += " on a background";
  const auto draw = [&](const std::string& text, const std::string& negative, LongPrompts how) {
    PictureRequest request = Request("");
    request.prompts =
        dataset::EncodePicturePrompts(*tokenizers_, text, negative, {}, 77, {.long_prompts = how})
            .value();
    request.steps = 2;
    return DrawPicture(*model_, request).value();
  };
  const at::Tensor cut = draw(prompt, "blue", LongPrompts::kTruncate);
  EXPECT_TRUE(at::equal(draw(prompt + " blue", "blue", LongPrompts::kTruncate), cut));
  const at::Tensor whole = draw(prompt, "blue", LongPrompts::kChunk);
  EXPECT_FALSE(at::equal(whole, cut));
  EXPECT_FALSE(at::equal(draw(prompt + " blue", "blue", LongPrompts::kChunk), whole));
  EXPECT_TRUE(at::isfinite(draw("blue", prompt, LongPrompts::kChunk)).all().item<bool>());
  EXPECT_TRUE(at::equal(draw("red", "blue", LongPrompts::kChunk),
                        draw("red", "blue", LongPrompts::kTruncate)));

  PictureRequest uneven = Request("a square");
  uneven.prompts.prompt =
      dataset::EncodePrompt(*tokenizers_, prompt, {}, 77, {.long_prompts = LongPrompts::kChunk})
          .value();
  EXPECT_THAT(DrawPicture(*model_, uneven),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("numbers of chunks")));
}

TEST_F(GenerateTest, Embedding_ChangesOnlyPromptsWithItsWord) {
  DrawList list;
  list.prompts = {"a photo of zesko", "a photo of a square"};
  list.sampler = "ddim";
  list.steps = 3;
  const auto draw = [&] {
    std::vector<std::string> pngs;
    EXPECT_OK(DrawAll(*model_, *tokenizers_, list, [&](Drawn drawn) {
      EXPECT_EQ(drawn.seed, 1 + pngs.size());
      pngs.push_back(drawn.png);
      return absl::OkStatus();
    }));
    return pngs;
  };
  const std::vector<std::string> before = draw();
  Embedding embedding;
  embedding.name = "zesko";
  embedding.vectors = 2;
  const int64_t width = model_->info().text_widths[0];
  embedding.blocks = {{width, std::vector<float>(static_cast<size_t>(2 * width), 0.5f)}};
  list.embedding = embedding;
  const std::vector<std::string> after = draw();
  ASSERT_EQ(before.size(), 2u);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_NE(before[0], after[0]);
  EXPECT_EQ(before[1], after[1]);

  list.embedding->blocks = {{5, std::vector<float>(10)}};
  EXPECT_THAT(DrawAll(*model_, *tokenizers_, list, [](Drawn) { return absl::OkStatus(); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5")));
}

int Draw(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"draw"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return RunDrawCommand(static_cast<int>(argv.size()), argv.data());
}

TEST(DrawCommandTest, WritesPicturesAndTheirList) {
  const ScopedDir dir;
  neolog::testing::WriteFileOrDie(dir.File("prompts.txt"), "a red square\n\n a blue circle\n");
  ASSERT_EQ(
      Draw({"--model", SourcePath("configs/demo/model"), "--prompts-file", dir.File("prompts.txt"),
            "--out", dir.File("out/deep"), "--steps", "2", "--seed", "7", "--sampler", "ddim"}),
      0);
  const auto list = nlohmann::json::parse(ReadFileOrDie(dir.File("out/deep/pictures.json")));
  EXPECT_EQ(list,
            nlohmann::json::parse(R"([{"file": "0000.png", "prompt": "a red square", "seed": 7},
                                            {"file": "0001.png", "prompt": " a blue circle", "seed": 8}])"));
  const auto text = ReadPngText(ReadFileOrDie(dir.File("out/deep/0001.png")), "0001.png");
  ASSERT_OK(text);
  EXPECT_THAT(text->at(0).second, HasSubstr("Seed: 8, Size: 64x64"));
}

TEST(DrawCommandTest, RulesOfPrompts_AreOptions) {
  const ScopedDir dir;
  neolog::testing::WriteFileOrDie(dir.File("prompts.txt"),
                                  "a red square BREAK a (blue:1.4) circle\n");
  const auto draw = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"--model",        SourcePath("configs/demo/model"),
                                          "--prompts-file", dir.File("prompts.txt"),
                                          "--out",          dir.File("out"),
                                          "--steps",        "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Draw(arguments);
  };
  ASSERT_EQ(draw({}), 0);
  const std::string plain = ReadFileOrDie(dir.File("out/0000.png"));
  EXPECT_EQ(draw({"--emphasis", "a1111"}), 2) << "BREAK needs chunks";
  ASSERT_EQ(draw({"--emphasis", "a1111", "--long-prompts", "chunk"}), 0);
  EXPECT_NE(ReadFileOrDie(dir.File("out/0000.png")), plain);
  ASSERT_EQ(draw({"--emphasis", "none", "--long-prompts", "truncate"}), 0);
  EXPECT_EQ(ReadFileOrDie(dir.File("out/0000.png")), plain);
  EXPECT_EQ(draw({"--emphasis", "bold"}), 2);
  EXPECT_EQ(draw({"--long-prompts", "wrap"}), 2);
}

TEST(DrawCommandTest, WrongArguments_ExitWithTwo) {
  const ScopedDir dir;
  neolog::testing::WriteFileOrDie(dir.File("empty.txt"), "\n");
  neolog::testing::WriteFileOrDie(dir.File("prompts.txt"), "a red square\n");
  const std::string model = SourcePath("configs/demo/model");
  EXPECT_EQ(Draw({}), 2);
  EXPECT_EQ(Draw({"--help"}), 0);
  EXPECT_EQ(
      Draw({"--model", model, "--prompts-file", dir.File("empty.txt"), "--out", dir.File("o")}), 2);
  EXPECT_EQ(
      Draw({"--model", model, "--prompts-file", dir.File("none.txt"), "--out", dir.File("o")}), 2);
  EXPECT_EQ(Draw({"--model", dir.path(), "--prompts-file", dir.File("prompts.txt"), "--out",
                  dir.File("o")}),
            2);
  EXPECT_EQ(Draw({"--model", model, "--prompts-file", dir.File("prompts.txt"), "--out",
                  dir.File("o"), "--embedding", dir.File("prompts.txt")}),
            2);
  EXPECT_EQ(Draw({"--model", model, "--prompts-file", dir.File("prompts.txt"), "--out",
                  dir.File("o"), "--sampler", "magic"}),
            2);
}

}  // namespace
}  // namespace neolog::generate
