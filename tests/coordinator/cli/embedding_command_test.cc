#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/embedding/embedding.h"
#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"
#include "coordinator/cli/app.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::WriteFileOrDie;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

class EmbeddingCommandTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> args) {
    std::ostringstream out, err;
    Console::Options options;
    options.out = &out;
    options.err = &err;
    Console console(options);
    SystemClock clock;
    Context context;
    context.console = &console;
    context.clock = &clock;
    context.env = [](std::string_view) { return std::nullopt; };
    args.insert(args.begin(), {"neolog", "embedding"});
    std::vector<const char*> argv;
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    const int code = RunApp(static_cast<int>(argv.size()), argv.data(), context);
    return {code, out.str(), err.str()};
  }

  /// One line, code 2.
  void ExpectError(std::vector<std::string> args, const char* words) {
    const Outcome outcome = Run(std::move(args));
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(words));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }

  Embedding Read(const std::string& name) {
    return ReadEmbedding(ReadFileOrDie(dir_.File(name)), name).value();
  }

  ScopedDir dir_;
};

std::string Data(const std::string& file) {
  return SourcePath("tests/common/embedding/data/" + file);
}

TEST_F(EmbeddingCommandTest, Info_OfOneEncoder) {
  const Outcome outcome = Run({"info", Data("carrier_text.png"), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json info = Json::parse(outcome.out);
  const float rows[] = {0.5f, -1.25f, 2, 3, -4, 5.5f};
  EXPECT_EQ(info["sha256"], Sha256Hex({reinterpret_cast<const char*>(rows), sizeof(rows)}));
  EXPECT_EQ(info["format"], "png");
  EXPECT_EQ(info["name"], "zesko");
  EXPECT_EQ(info["step"], 12);
  EXPECT_EQ(info["vectors"], 2);
  EXPECT_EQ(info["widths"], Json({3}));
  EXPECT_EQ(info["checkpoint"], Json({{"hash", "0123456789"}, {"name", "model"}}));
  ASSERT_EQ(info["norms"].size(), 2u);
  EXPECT_DOUBLE_EQ(info["norms"][0], std::sqrt(5.8125));
  EXPECT_EQ(info.size(), 8u) << outcome.out;
  EXPECT_THAT(Run({"info", Data("carrier_text.png")}).out,
              HasSubstr("checkpoint  0123456789 model\n"));
}

TEST_F(EmbeddingCommandTest, Info_OfTwoEncodersHasLists) {
  const Outcome outcome = Run({"info", Data("sdxl_mixed.safetensors"), "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json info = Json::parse(outcome.out);
  EXPECT_EQ(info["name"], nullptr);
  EXPECT_EQ(info["step"], nullptr);
  EXPECT_EQ(info["checkpoint"], nullptr);
  EXPECT_EQ(info["widths"], Json({3, 4}));
  ASSERT_EQ(info["sha256"].size(), 2u);
  ASSERT_EQ(info["norms"].size(), 2u);
  EXPECT_EQ(info["norms"][1].size(), 2u);
}

TEST_F(EmbeddingCommandTest, Info_NearestTokensOfAModel) {
  const std::string model = SourcePath("configs/demo/model");
  ASSERT_OK_AND_ASSIGN(const auto file,
                       SafetensorsFile::Open(model + "/text_encoder/model.safetensors"));
  const TensorView& table = file->tensors().at("text_model.embeddings.token_embedding.weight");
  ASSERT_OK_AND_ASSIGN(const std::vector<float> values, ToFloat32(table));
  const auto width = static_cast<size_t>(table.shape[1]);
  const auto vocabulary = Json::parse(ReadFileOrDie(model + "/tokenizer/vocab.json"));
  const std::string token = "red</w>";
  ASSERT_TRUE(vocabulary.contains(token));
  const auto id = vocabulary[token].get<size_t>();
  Embedding embedding;
  embedding.name = "w";
  embedding.vectors = 1;
  embedding.blocks = {{static_cast<int64_t>(width), {}}};
  // Another length, the same direction.
  for (size_t i = 0; i < width; ++i)
    embedding.blocks[0].values.push_back(3 * values[id * width + i]);
  WriteFileOrDie(dir_.File("w.pt"), *WriteEmbedding(embedding, EmbeddingFormat::kA1111));
  const Outcome outcome = Run({"info", dir_.File("w.pt"), "--json", "--model", model});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json nearest = Json::parse(outcome.out)["nearest"];
  ASSERT_EQ(nearest.size(), 1u);
  ASSERT_EQ(nearest[0].size(), 5u);
  EXPECT_EQ(nearest[0][0]["token"], token);
  EXPECT_EQ(nearest[0][0]["id"], id);
  EXPECT_NEAR(nearest[0][0]["cosine"], 1, 1e-6);
  EXPECT_LT(nearest[0][1]["cosine"], nearest[0][0]["cosine"]);
  EXPECT_THAT(Run({"info", dir_.File("w.pt"), "--model", model}).out, HasSubstr("red</w> 1.000"));

  ExpectError({"info", Data("a1111_parameter.pt"), "--model", model}, "vectors of width 3");
  ExpectError({"info", dir_.File("w.pt"), "--model", dir_.path()}, "model_index.json");
}

struct ConvertCase {
  const char* in;
  const char* out;
  std::vector<std::string> flags;
  EmbeddingFormat format;
  const char* name;
};

TEST_F(EmbeddingCommandTest, Convert_ChoosesTheFormatByExtension) {
  using F = EmbeddingFormat;
  const std::vector<ConvertCase> cases = {
      {"diffusers_bfloat16.bin", "a.pt", {}, F::kA1111, "<zesko>"},
      {"a1111_parameter.pt", "a.safetensors", {}, F::kDiffusers, "zesko"},
      {"a1111_parameter.pt", "a.bin", {"--name", "other"}, F::kDiffusers, "other"},
      {"kohya_torch.pt", "b.png", {}, F::kPng, "kohya_torch"},
      {"a1111_parameter.pt", "c.safetensors", {"--format", "kohya"}, F::kKohya, "c"},
      {"a1111_parameter.pt", "d.pt", {"--format", "onetrainer"}, F::kOneTrainer, "d"},
      {"carrier_text.png", "e.bin", {"--format", "a1111"}, F::kA1111, "zesko"},
      {"sdxl_torch.pt", "s.safetensors", {}, F::kSdxl, "s"},
      {"sdxl_mixed.safetensors", "s.pt", {}, F::kSdxl, "s"},
      {"sdxl_mixed.safetensors", "t.safetensors", {"--format", "onetrainer"}, F::kSdxl, "t"},
  };
  for (const ConvertCase& c : cases) {
    std::vector<std::string> args = {"convert", Data(c.in), dir_.File(c.out)};
    args.insert(args.end(), c.flags.begin(), c.flags.end());
    const Outcome outcome = Run(args);
    ASSERT_EQ(outcome.code, 0) << c.out << ": " << outcome.err;
    const Embedding read = Read(c.out);
    EXPECT_EQ(read.format, c.format) << c.out;
    EXPECT_EQ(read.name, c.name) << c.out;
    EXPECT_THAT(read.blocks[0].values, ElementsAre(0.5f, -1.25f, 2, 3, -4, 5.5f));
  }
}

TEST_F(EmbeddingCommandTest, Convert_OverwritesOnlyWhenForced) {
  WriteFileOrDie(dir_.File("a.pt"), "mine");
  ExpectError({"convert", Data("kohya_torch.pt"), dir_.File("a.pt")}, "--force");
  EXPECT_EQ(ReadFileOrDie(dir_.File("a.pt")), "mine");
  // Nothing is touched by what fails, force or not.
  ExpectError({"convert", Data("sdxl_torch.pt"), dir_.File("a.pt"), "--force", "--format", "a1111"},
              "use sdxl");
  EXPECT_EQ(ReadFileOrDie(dir_.File("a.pt")), "mine");
  EXPECT_EQ(Run({"convert", Data("kohya_torch.pt"), dir_.File("a.pt"), "--force"}).code, 0);
  EXPECT_EQ(Read("a.pt").format, EmbeddingFormat::kA1111);
}

TEST_F(EmbeddingCommandTest, Convert_CarriesAGivenPicture) {
  const std::string picture = SourcePath("configs/demo/pictures/zesko/1.png");
  ASSERT_EQ(Run({"convert", Data("kohya_torch.pt"), dir_.File("a.png"), "--picture", picture}).code,
            0);
  EXPECT_EQ(Read("a.png").format, EmbeddingFormat::kPng);
  ASSERT_EQ(Run({"convert", Data("kohya_torch.pt"), dir_.File("b.png")}).code, 0);
  EXPECT_NE(ReadFileOrDie(dir_.File("a.png")), ReadFileOrDie(dir_.File("b.png")));
  ExpectError({"convert", Data("kohya_torch.pt"), dir_.File("c.pt"), "--picture", picture},
              "--picture is for the format png");
}

TEST_F(EmbeddingCommandTest, Convert_RefusesInOneLine) {
  ExpectError({"convert", Data("kohya_torch.pt"), dir_.File("a.ckpt")}, "expected .pt, .bin");
  ExpectError({"convert", Data("kohya_torch.pt"), dir_.File("a.png"), "--format", "kohya"},
              "expected a .safetensors file");
  ExpectError({"convert", Data("kohya_torch.pt"), dir_.File("a.pt"), "--format", "webui"},
              "--format");
  ExpectError({"convert", Data("just_a_picture.png"), dir_.File("a.pt")}, "just a picture");
  ExpectError({"convert", dir_.File("none.pt"), dir_.File("a.pt")}, "none.pt");
  ExpectError({"convert", Data("kohya_torch.pt"), dir_.File("no/folder/a.pt")}, "no/folder");
  ExpectError({"info", dir_.path()}, "directory");
  // A hostile key must not break the line.
  const float rows[] = {1, 2};
  const TensorView view{TensorType::kFloat32, {2}, std::as_bytes(std::span(rows))};
  WriteFileOrDie(dir_.File("x.safetensors"),
                 *SerializeSafetensors({{"a\nerror: b", view}, {"c\x1b[31m", view}}, {}));
  ExpectError({"info", dir_.File("x.safetensors")}, "a?error: b, c?[31m");
}

TEST_F(EmbeddingCommandTest, Verify_SaysWhichAreBad) {
  const Outcome good = Run({"verify", Data("kohya_torch.pt"), Data("sdxl_torch.pt")});
  EXPECT_EQ(good.code, 0);
  EXPECT_THAT(good.out, HasSubstr("sdxl_torch.pt: sdxl, 2 vectors of width 3 and 4\n"));
  const Outcome bad = Run({"verify", Data("carrier_nan.png"), Data("kohya_torch.pt")});
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.out, HasSubstr("ok   "));
  EXPECT_THAT(bad.out, Not(HasSubstr("carrier_nan")));
  EXPECT_THAT(bad.err, HasSubstr("vector 1, element 1 is nan"));
}

}  // namespace
}  // namespace neolog::cli
