#include <filesystem>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/part_files.h"
#include "tests/common/checkpoint/model_files.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

namespace fs = std::filesystem;
using ::neolog::testing::NarrowModel;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::TestModel;
using ::neolog::testing::TestTensors;
using ::neolog::testing::WriteNarrowFolder;
using ::neolog::testing::WriteTensors;
using ::neolog::testing::WriteTextFile;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Folder : public ::testing::Test {
 protected:
  Folder() : model_(NarrowModel(ModelFamily::kSd1)) {
    WriteNarrowFolder(ModelFamily::kSd1, model_, dir_.File("m"));
  }
  std::string File(const std::string& name) const { return dir_.File("m/" + name); }
  absl::StatusOr<Checkpoint> Open() const { return OpenCheckpoint(dir_.File("m"), {}); }
  static std::string Unet(const char* ending) {
    return std::string("unet/diffusion_pytorch_model") + ending;
  }

  ScopedDir dir_;
  TestModel model_;
};

TEST_F(Folder, SaysWhatItIs) {
  WriteTextFile(File("tokenizer/vocab.json"), R"({"<|startoftext|>": 3, "<|endoftext|>": 4})");
  WriteTextFile(File("tokenizer/merges.txt"), "#version\n");
  WriteTextFile(File("safety_checker/model.safetensors"), "not looked at");
  const auto model = Open();
  ASSERT_OK(model);
  EXPECT_EQ(model->family, ModelFamily::kSd1);
  EXPECT_FALSE(model->single_file);
  EXPECT_EQ(model->image_size, 512);
  EXPECT_EQ(model->clips[0].bos_token_id, 3);
  EXPECT_EQ(model->clips[0].eos_token_id, 4);
  EXPECT_EQ(model->tokenizers[0].kind, TokenizerSource::Kind::kFolder);
  EXPECT_EQ(model->tokenizers[0].folder, File("tokenizer"));
  EXPECT_THAT(model->notes, IsEmpty());
  std::vector<std::string> names;
  for (const ModelFile& file : model->files) names.push_back(file.name);
  EXPECT_THAT(names, ElementsAre("model_index.json", "scheduler/scheduler_config.json",
                                 "text_encoder/config.json", "text_encoder/model.safetensors",
                                 "tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json",
                                 "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
                                 "vae/diffusion_pytorch_model.safetensors"));
}

TEST_F(Folder, Sd2_IsToldByItsLinearProjection) {
  WriteNarrowFolder(ModelFamily::kSd2, NarrowModel(ModelFamily::kSd2), dir_.File("sd2"));
  const auto model = OpenCheckpoint(dir_.File("sd2"), {});
  ASSERT_OK(model);
  EXPECT_EQ(model->family, ModelFamily::kSd2);
  EXPECT_TRUE(model->v_prediction);
  EXPECT_THAT(model->prediction_reason, HasSubstr("scheduler_config.json' says so"));
}

TEST_F(Folder, Variants_AreTakenWhereTheModelHasNoOther) {
  fs::rename(File(Unet(".safetensors")), File(Unet(".fp16.safetensors")));
  WriteTensors({{"other", {{1}, {0}}}}, File(Unet(".non_ema.safetensors")));
  const auto model = Open();
  ASSERT_OK(model);
  EXPECT_EQ(model->unet_weights.weights.size(), model_.at("unet").size());
}

TEST_F(Folder, Shards_AreReadThroughTheirIndex) {
  TestTensors halves[2];
  std::string map;
  size_t n = 0;
  for (const auto& [key, tensor] : model_.at("unet")) {
    halves[n % 2][key] = tensor;
    map +=
        (n == 0 ? "" : ",") + ("\"" + key + "\": \"s" + std::to_string(n % 2)) + ".safetensors\"";
    ++n;
  }
  // Keys of a shard that the index does not name are somebody else's.
  halves[0]["conv_in.weight"] = {{1}, {0}};
  fs::remove(File(Unet(".safetensors")));
  WriteTensors(halves[0], File("unet/s0.safetensors"));
  WriteTensors(halves[1], File("unet/s1.safetensors"));
  WriteTextFile(File(Unet(".safetensors.index.json")), "{\"weight_map\": {" + map + "}}");
  const auto model = Open();
  ASSERT_OK(model);
  EXPECT_EQ(model->unet_weights.weights.size(), model_.at("unet").size());
  EXPECT_EQ(model->files.size(), 10u);
  halves[0].erase(halves[0].begin());
  WriteTensors(halves[0], File("unet/s0.safetensors"));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("should be in 's0.safetensors' but is not")));
  fs::remove(File("unet/s1.safetensors"));
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("s1.safetensors' is missing"),
                                     HasSubstr("download it, too"))));
}

TEST_F(Folder, ShardOutsideOfTheFolder_IsRefused) {
  fs::remove(File(Unet(".safetensors")));
  for (const char* name : {"../vae/x.safetensors", "/etc/passwd", "..", "a\\\\b", ""}) {
    WriteTextFile(File(Unet(".safetensors.index.json")),
                  std::string("{\"weight_map\": {\"conv_in.weight\": \"") + name + "\"}}");
    EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("expected the name of a file in the same folder")));
  }
}

TEST_F(Folder, OldNames_AreRead) {
  TestTensors vae, text;
  for (const auto& [key, tensor] : model_.at("vae")) {
    std::string old = key;
    for (const auto& [now, then] : {std::pair<std::string, std::string>("to_q", "query"),
                                    {"to_k", "key"},
                                    {"to_v", "value"},
                                    {"to_out.0", "proj_attn"}}) {
      if (const size_t at = old.find(now); at != std::string::npos)
        old.replace(at, now.size(), then);
    }
    vae[old] = tensor;
  }
  for (const auto& [key, tensor] : model_.at("text_encoder")) text[key.substr(11)] = tensor;
  text["embeddings.position_ids"] = {{1, 2}, {0, 1}};
  WriteTensors(vae, File("vae/diffusion_pytorch_model.safetensors"));
  WriteTensors(text, File("text_encoder/model.safetensors"));
  const auto model = Open();
  ASSERT_OK(model);
  EXPECT_THAT(model->notes, IsEmpty());
  EXPECT_EQ(model->vae_weights.weights.count("encoder.mid_block.attentions.0.to_out.0.bias"), 1u);
}

TEST_F(Folder, EveryProblem_IsReportedAtOnce) {
  fs::remove(File("vae/config.json"));
  fs::remove(File("text_encoder/model.safetensors"));
  WriteTextFile(File("unet/config.json"), R"({"act_fn": "mish"})");
  std::vector<std::string> problems;
  InspectCheckpoint(dir_.File("m"), {}, &problems);
  EXPECT_THAT(problems, ElementsAre(HasSubstr("'act_fn' is \"mish\""),
                                    AllOf(HasSubstr("vae/config.json' is missing")),
                                    AllOf(HasSubstr("text_encoder' has no weights"),
                                          HasSubstr("expected 'model.safetensors'"))));
}

TEST_F(Folder, WeightsThatDoNotFit_AreNamed) {
  model_.at("unet").erase("conv_in.bias");
  model_.at("unet")["conv_out.bias"] = {{3}, {1, 2, 3}};
  model_.at("unet")["brand.new"] = {{1}, {0}};
  WriteTensors(model_.at("unet"), File(Unet(".safetensors")));
  std::vector<std::string> problems;
  const Checkpoint model = InspectCheckpoint(dir_.File("m"), {}, &problems);
  EXPECT_THAT(problems, ElementsAre(HasSubstr("weights are missing: 'conv_in.bias'"),
                                    HasSubstr("'conv_out.bias' has shape [3], expected [4]")));
  EXPECT_THAT(model.notes, Contains(HasSubstr("are not used: 'brand.new'")));
}

TEST_F(Folder, ConfigurationOfMillionsOfWeights_IsRefused) {
  WriteTextFile(File("unet/config.json"),
                R"({"layers_per_block": 64, "transformer_layers_per_block": 64})");
  std::vector<std::string> problems;
  InspectCheckpoint(dir_.File("m"), {}, &problems);
  EXPECT_THAT(problems, ElementsAre(HasSubstr("the UNet has 33024 blocks")));
}

TEST_F(Folder, ThatIsNoModel_SaysWhatToGive) {
  WriteTensors({{"x", {{1}, {0}}}}, dir_.File("single/a.safetensors"));
  EXPECT_THAT(OpenCheckpoint(dir_.File("single"), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("give a file in it: 'a.safetensors'")));
  EXPECT_THAT(OpenCheckpoint(File("unet"), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("it is one part of a model; give the folder above it")));
  WriteTextFile(File("model_index.json"), R"({"_class_name": "FluxPipeline"})");
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("'_class_name' is FluxPipeline; supported")));
}

TEST_F(Folder, OtherVae_ReplacesTheModelsOwn) {
  TestTensors other = model_.at("vae");
  other["decoder.conv_out.bias"] = {{3}, {7, 8, 9}};
  WriteTensors(other, dir_.File("other.safetensors"));
  const auto model = OpenCheckpoint(dir_.File("m"), {.vae_path = dir_.File("other.safetensors")});
  ASSERT_OK(model);
  EXPECT_EQ(model->vae_weights.weights.at("decoder.conv_out.bias").file->tensors().size(),
            other.size());
  for (const ModelFile& file : model->files) EXPECT_FALSE(file.name.starts_with("vae/"));
}

struct Choice {
  std::vector<const char*> files;
  const char* chosen;
};

TEST(PartFiles, Choice_FollowsTheStatedOrder) {
  const Choice cases[] = {
      {{"model.fp16.safetensors", "model.safetensors", "pytorch_model.bin"}, "model.safetensors"},
      {{"model.fp16.safetensors", "pytorch_model.bin"}, "model.fp16.safetensors"},
      {{"model.non_ema.safetensors", "model.fp16.safetensors"}, "model.fp16.safetensors"},
      {{"model.zzz.safetensors", "model.aaa.safetensors"}, "model.aaa.safetensors"},
      {{"model.zzz.safetensors", "model.non_ema.safetensors"}, "model.non_ema.safetensors"},
      {{"pytorch_model.fp16.bin", "pytorch_model.bin"}, "pytorch_model.bin"},
      {{"flax_model.msgpack", "model.onnx", "openvino.bin", "pytorch_model.bin"},
       "pytorch_model.bin"},
  };
  for (const Choice& one : cases) {
    const ScopedDir dir;
    for (const char* file : one.files) WriteTextFile(dir.File(file), "");
    const auto found = FindPartFiles(dir.path(), {"model", "pytorch_model"});
    ASSERT_OK(found);
    EXPECT_THAT(found->paths, ElementsAre(dir.File(one.chosen)));
  }
  const ScopedDir dir;
  WriteTextFile(dir.File("model.fp16-00001-of-00002.safetensors"), "");
  EXPECT_THAT(FindPartFiles(dir.path(), {"model"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("expected 'model.safetensors'")));
}

TEST(PartFiles, BrokenIndex_IsRefused) {
  for (const char* text : {"", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})"}) {
    const ScopedDir dir;
    WriteTextFile(dir.File("model.safetensors.index.json"), text);
    EXPECT_THAT(FindPartFiles(dir.path(), {"model"}),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("\"weight_map\"")));
  }
}

}  // namespace
}  // namespace neolog
