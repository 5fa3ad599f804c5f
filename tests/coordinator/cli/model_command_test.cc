#include <nlohmann/json.hpp>
#include <sstream>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/model_check.h"
#include "tests/common/checkpoint/model_files.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli {
namespace {

using ::neolog::testing::NarrowModel;
using ::neolog::testing::NarrowModelOfClipsTokens;
using ::neolog::testing::OriginalLayout;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::WriteTensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Outcome {
  int code = 0;
  std::string out, err;
};

class ModelInfoTest : public ::testing::Test {
 protected:
  ModelInfoTest() {
    WriteTensors(OriginalLayout(ModelFamily::kSd2, NarrowModel(ModelFamily::kSd2)), File(),
                 TensorType::kFloat16);
  }
  std::string File() const { return dir_.File("m.safetensors"); }
  Outcome Run(const ModelInfoOptions& options) const {
    std::ostringstream out, err;
    std::istringstream in;
    Console console({.out = &out, .err = &err, .in = &in});
    Context context;
    context.console = &console;
    context.env = [this](std::string_view name) -> std::optional<std::string> {
      if (name == "NEOLOG_STATE_DIR") return dir_.File("state");
      return std::nullopt;
    };
    const int code = ModelInfoCommand(context, options);
    return {code, out.str(), err.str()};
  }

  ScopedDir dir_;
};

TEST_F(ModelInfoTest, Json_SaysEverything) {
  const Outcome outcome = Run({.path = File(), .json = true});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["family"], "SD 2.x");
  EXPECT_EQ(json["prediction"]["type"], "v_prediction");
  EXPECT_EQ(json["prediction"]["guessed"], true);
  EXPECT_EQ(json["image"]["side"], 768);
  EXPECT_EQ(json["embeddingWidths"], nlohmann::json::array({64}));
  EXPECT_EQ(json["textEncoders"][0]["layers"], 3);
  EXPECT_EQ(json["unet"]["heads"], nlohmann::json::array({1, 1, 2}));
  ASSERT_EQ(json["parts"].size(), 3u);
  int64_t parameters = 0;
  for (const auto& part : json["parts"]) {
    parameters += part["parameters"].get<int64_t>();
    EXPECT_EQ(part["bytes"], part["parameters"].get<int64_t>() * 2);
    EXPECT_EQ(part["types"]["F16"], part["parameters"]);
  }
  const auto& memory = json["memoryEstimate"];
  EXPECT_EQ(memory["fp32"]["weights"], 4 * parameters);
  EXPECT_EQ(memory["side"], 768);
  EXPECT_LT(memory["bf16"]["weights"], memory["fp32"]["weights"]);
  EXPECT_GT(memory["bf16"]["weights"], 2 * parameters) << "text encoders are fp32";
  EXPECT_EQ(json["hashes"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_EQ(json["hashes"]["short"].get<std::string>().size(), 10u);
  EXPECT_EQ(json["files"], nlohmann::json::array({"m.safetensors"}));
  EXPECT_THAT(json["warnings"].dump(), HasSubstr("it is a guess"));
  EXPECT_EQ(outcome.err, "");
}

TEST_F(ModelInfoTest, Text_IsForPeople) {
  const Outcome outcome = Run({.path = File(), .prediction = "epsilon", .hashes = false});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("SD 2.x"), HasSubstr("noise: it was set"), HasSubstr("512 pixels"),
                    HasSubstr("vectors of 64 floats"), HasSubstr("F16"), Not(HasSubstr("sha256"))));
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("warning: "), Not(HasSubstr("guess"))));
}

TEST_F(ModelInfoTest, Folder_HasNoHashes) {
  const Outcome outcome = Run({.path = SourcePath("configs/demo/model"), .json = true});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["family"], "SD 1.x");
  EXPECT_TRUE(json["hashes"].is_null());
  EXPECT_EQ(json["singleFile"], false);
}

TEST_F(ModelInfoTest, WhatIsNoModel_IsBadInput) {
  WriteTensors({{"emb_params", {{1, 768}, std::vector<float>(768)}}}, File());
  const Outcome outcome = Run({.path = File()});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("is an embedding; give the model that it was made for"));
}

TEST(Submission, OfASingleFile_NeedsClipsTokens) {
  const ScopedDir dir;
  setenv("NEOLOG_CLIP_MERGES", testing::DependencyPath("clip/bpe_simple_vocab_16e6.txt.gz").c_str(),
         1);
  WriteTensors(OriginalLayout(ModelFamily::kSd1, NarrowModel(ModelFamily::kSd1)),
               dir.File("m.safetensors"));
  std::vector<std::string> problems;
  InspectModel(dir.File("m.safetensors"), {}, {.side = 0}, &problems);
  EXPECT_THAT(problems, ElementsAre(HasSubstr("the text encoder has 40 tokens, but its tokenizer "
                                              "49408 (a single file is taken to have CLIP's)")));
  // With as many tokens as CLIP has it is a model like any other.
  WriteTensors(OriginalLayout(ModelFamily::kSd1, NarrowModelOfClipsTokens()),
               dir.File("m.safetensors"), TensorType::kFloat16);
  problems.clear();
  const ModelFacts facts = InspectModel(dir.File("m.safetensors"), {}, {.side = 0}, &problems);
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_THAT(facts.text_widths, ElementsAre(64u));
  EXPECT_EQ(facts.positions, 77u);
  EXPECT_TRUE(facts.single_file);
  ASSERT_EQ(facts.tokenizers.size(), 1u);
  EXPECT_THAT(facts.tokenizers[0]->Encode("fox"), ElementsAre(49406, 3240, 49407));
  unsetenv("NEOLOG_CLIP_MERGES");
}

}  // namespace
}  // namespace neolog::cli
