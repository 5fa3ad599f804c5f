#include <cmath>
#include <fstream>

#include "common/checkpoint/checkpoint.h"
#include "common/tensor_file/half.h"
#include "tests/common/checkpoint/model_files.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::NarrowModel;
using ::neolog::testing::OriginalLayout;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::neolog::testing::TestModel;
using ::neolog::testing::TestTensor;
using ::neolog::testing::TestTensors;
using ::neolog::testing::WriteNarrowFolder;
using ::neolog::testing::WriteTensors;
using ::neolog::testing::WriteTextFile;
using ::neolog::testing::WriteTorchFile;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr ModelFamily kFamilies[] = {ModelFamily::kSd1, ModelFamily::kSd2, ModelFamily::kSdxl};

// A weight as it is computed with.
TestTensor Materialised(const WeightSource& source) {
  std::vector<float> stored = ToFloat32(source.view).value();
  if (!source.transposed) return {source.view.shape, stored};
  const int64_t rows = source.view.shape[0], columns = source.view.shape[1];
  TestTensor result{{columns, rows}, stored};
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) result.values[j * rows + i] = stored[i * columns + j];
  }
  return result;
}

void ExpectWeights(const CheckpointPart& part, const TestTensors& expected) {
  ASSERT_EQ(part.weights.size(), expected.size()) << part.name;
  for (const auto& [key, tensor] : expected) {
    const auto it = part.weights.find(key);
    ASSERT_TRUE(it != part.weights.end()) << part.name << " " << key;
    const TestTensor found = Materialised(it->second);
    ASSERT_EQ(found.shape, tensor.shape) << part.name << " " << key;
    ASSERT_EQ(found.values, tensor.values) << part.name << " " << key;
  }
}

void ExpectSame(const ClipConfig& a, const ClipConfig& b) {
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.num_hidden_layers, b.num_hidden_layers);
  EXPECT_EQ(a.num_attention_heads, b.num_attention_heads);
  EXPECT_EQ(a.max_position_embeddings, b.max_position_embeddings);
  EXPECT_EQ(a.hidden_act, b.hidden_act);
  EXPECT_EQ(a.bos_token_id, b.bos_token_id);
  EXPECT_EQ(a.eos_token_id, b.eos_token_id);
  EXPECT_EQ(a.projection_dim, b.projection_dim);
}

void ExpectSame(const UNetConfig& a, const UNetConfig& b) {
  EXPECT_EQ(a.in_channels, b.in_channels);
  EXPECT_EQ(a.out_channels, b.out_channels);
  EXPECT_EQ(a.sample_size, b.sample_size);
  EXPECT_EQ(a.down_cross_attention, b.down_cross_attention);
  EXPECT_EQ(a.up_cross_attention, b.up_cross_attention);
  EXPECT_EQ(a.block_out_channels, b.block_out_channels);
  EXPECT_EQ(a.layers_per_block, b.layers_per_block);
  EXPECT_EQ(a.transformer_layers_per_block, b.transformer_layers_per_block);
  EXPECT_EQ(a.num_attention_heads, b.num_attention_heads);
  EXPECT_EQ(a.cross_attention_dim, b.cross_attention_dim);
  EXPECT_EQ(a.norm_num_groups, b.norm_num_groups);
  EXPECT_EQ(a.use_linear_projection, b.use_linear_projection);
  EXPECT_EQ(a.addition_time_embed_dim, b.addition_time_embed_dim);
  EXPECT_EQ(a.projection_class_embeddings_input_dim, b.projection_class_embeddings_input_dim);
}

class SingleFile : public ::testing::TestWithParam<ModelFamily> {
 protected:
  SingleFile() : model_(NarrowModel(GetParam())) {}
  std::string File() const { return dir_.File("model.safetensors"); }

  ScopedDir dir_;
  TestModel model_;
};

TEST_P(SingleFile, IsTheSameModelAsTheFolder) {
  WriteNarrowFolder(GetParam(), model_, dir_.File("folder"));
  const auto folder = OpenCheckpoint(dir_.File("folder"), {});
  ASSERT_OK(folder);
  const TestTensors original = OriginalLayout(GetParam(), model_);
  WriteTensors(original, dir_.File("model.safetensors"));
  WriteTensors(original, dir_.File("fp16.safetensors"), TensorType::kFloat16);
  WriteTorchFile(original, dir_.File("model.ckpt"), /*legacy=*/false);
  WriteTorchFile(original, dir_.File("legacy.ckpt"), /*legacy=*/true);
  for (const std::string name :
       {"model.safetensors", "fp16.safetensors", "model.ckpt", "legacy.ckpt"}) {
    SCOPED_TRACE(name);
    const auto file = OpenCheckpoint(dir_.File(name), {});
    ASSERT_OK(file);
    for (const Checkpoint* c : {&*folder, &*file}) {
      EXPECT_EQ(c->family, GetParam());
      ASSERT_EQ(c->text_encoders.size(), GetParam() == ModelFamily::kSdxl ? 2u : 1u);
      for (const CheckpointPart& part : c->text_encoders) ExpectWeights(part, model_.at(part.name));
      ExpectWeights(c->unet_weights, model_.at("unet"));
      ExpectWeights(c->vae_weights, model_.at("vae"));
    }
    for (size_t i = 0; i < file->clips.size(); ++i) ExpectSame(file->clips[i], folder->clips[i]);
    ExpectSame(file->unet, folder->unet);
    EXPECT_EQ(file->vae.block_out_channels, folder->vae.block_out_channels);
    EXPECT_EQ(file->vae.layers_per_block, folder->vae.layers_per_block);
    EXPECT_EQ(file->vae.latent_channels, folder->vae.latent_channels);
    EXPECT_EQ(file->vae.scaling_factor, folder->vae.scaling_factor);
    EXPECT_EQ(file->v_prediction, folder->v_prediction);
    EXPECT_EQ(file->scheduler.v_prediction, folder->scheduler.v_prediction);
    EXPECT_EQ(file->scheduler.noise_schedule.beta_start, 0.00085);
    EXPECT_EQ(file->scheduler.noise_schedule.beta_end, 0.012);
    EXPECT_EQ(file->image_size, folder->image_size);
    EXPECT_EQ(file->prediction_guessed, GetParam() == ModelFamily::kSd2);
    EXPECT_FALSE(folder->prediction_guessed);
    ASSERT_EQ(file->files.size(), 1u);
    EXPECT_EQ(file->files[0].name, name);
    for (const TokenizerSource& source : file->tokenizers)
      EXPECT_EQ(source.kind, TokenizerSource::Kind::kClip);
    EXPECT_THAT(file->notes, Contains(HasSubstr("averaged (EMA) weights")));
    EXPECT_THAT(file->notes, Not(Contains(HasSubstr("are not used"))));
  }
}

// Original keys, and where diffusers' own converters bring them (tests/reference/
// make_single_files.py).
TEST_P(SingleFile, Keys_AreThoseOfTheReference) {
  WriteTensors(OriginalLayout(GetParam(), model_), File());
  const auto file = OpenCheckpoint(File(), {});
  ASSERT_OK(file);
  std::map<std::string, const WeightTable*> parts = {{"unet", &file->unet_weights.weights},
                                                     {"vae", &file->vae_weights.weights}};
  size_t weights = 0, lines = 0;
  for (const CheckpointPart& part : file->text_encoders) parts[part.name] = &part.weights;
  for (const auto& [name, table] : parts) weights += table->size();
  const char* golden = GetParam() == ModelFamily::kSd1   ? "sd1"
                       : GetParam() == ModelFamily::kSd2 ? "sd2"
                                                         : "sdxl";
  std::ifstream in(SourcePath(std::string("tests/golden/single_file/") + golden + ".tsv"));
  for (std::string original, part, key, reading; in >> original >> part >> key >> reading;) {
    ++lines;
    ASSERT_EQ(parts.count(part), 1u) << part;
    const auto it = parts.at(part)->find(key);
    ASSERT_TRUE(it != parts.at(part)->end()) << part << " " << key;
    const WeightSource& source = it->second;
    EXPECT_EQ(source.key, original) << key;
    EXPECT_EQ(source.transposed, reading == "transposed") << key;
    const TensorView& whole = source.file->tensors().at(source.key);
    const size_t third = reading == "second" ? 1 : reading == "last" ? 2 : 0;
    const bool cut = reading == "first" || reading == "second" || reading == "last";
    EXPECT_EQ(whole.data.size(), source.view.data.size() * (cut ? 3 : 1)) << key;
    EXPECT_EQ(source.view.data.data(), whole.data.data() + third * source.view.data.size()) << key;
  }
  EXPECT_EQ(lines, weights);
}

TEST_P(SingleFile, WeightsAreViewsOfTheFile) {
  WriteTensors(OriginalLayout(GetParam(), model_), File());
  const auto file = OpenCheckpoint(File(), {});
  ASSERT_OK(file);
  const auto inside = [](const WeightSource& source) {
    const TensorView& whole = source.file->tensors().at(source.key);
    return source.view.data.data() >= whole.data.data() &&
           source.view.data.data() + source.view.data.size() <=
               whole.data.data() + whole.data.size();
  };
  for (const CheckpointPart& part : file->text_encoders) {
    for (const auto& [key, source] : part.weights) EXPECT_TRUE(inside(source)) << key;
  }
}

TEST_P(SingleFile, MissingWeights_AreNamedTheHighestFirst) {
  TestTensors tensors = OriginalLayout(GetParam(), model_);
  tensors.erase("model.diffusion_model.out.0.weight");
  tensors.erase("model.diffusion_model.input_blocks.4.0.in_layers.2.bias");
  WriteTensors(tensors, File());
  EXPECT_THAT(OpenCheckpoint(File(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("weights are missing: 'conv_norm_out.weight', "
                                 "'down_blocks.1.resnets.0.conv1.bias'")));
}

TEST_P(SingleFile, WrongShape_IsNamed) {
  TestTensors tensors = OriginalLayout(GetParam(), model_);
  TestTensor& bias = tensors["model.diffusion_model.out.2.bias"];
  bias = {{5}, {1, 2, 3, 4, 5}};
  WriteTensors(tensors, File());
  EXPECT_THAT(OpenCheckpoint(File(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'conv_out.bias' has shape [5], expected [4]")));
}

TEST_P(SingleFile, UnknownKeys_AreNotedByPrefix) {
  TestTensors tensors = OriginalLayout(GetParam(), model_);
  tensors["something.else.weight"] = {{1}, {0}};
  tensors["something.else.bias"] = {{1}, {0}};
  tensors["model.diffusion_model.extra.weight"] = {{1}, {0}};
  WriteTensors(tensors, File());
  const auto file = OpenCheckpoint(File(), {});
  ASSERT_OK(file);
  EXPECT_THAT(file->notes,
              Contains(AllOf(HasSubstr("3 of the weights"), HasSubstr("2 below 'something.else.'"),
                             HasSubstr("1 below 'model.diffusion_model.'"))));
}

TEST_P(SingleFile, WithoutVae_AsksForOneAndTakesIt) {
  TestTensors tensors = OriginalLayout(GetParam(), model_), vae, bare;
  for (auto it = tensors.begin(); it != tensors.end();) {
    if (!it->first.starts_with("first_stage_model.")) {
      ++it;
      continue;
    }
    vae[it->first] = it->second;
    bare[it->first.substr(18)] = it->second;
    it = tensors.erase(it);
  }
  WriteTensors(tensors, File());
  EXPECT_THAT(OpenCheckpoint(File(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no VAE")));
  WriteTensors(vae, dir_.File("prefixed.safetensors"));
  WriteTensors(bare, dir_.File("bare.safetensors"));
  WriteTensors(model_.at("vae"), dir_.File("diffusers.safetensors"));
  WriteNarrowFolder(GetParam(), model_, dir_.File("folder"));
  for (const char* path : {"prefixed.safetensors", "bare.safetensors", "diffusers.safetensors",
                           "folder", "folder/vae"}) {
    const auto file = OpenCheckpoint(File(), {.vae_path = dir_.File(path)});
    ASSERT_OK(file) << path;
    ExpectWeights(file->vae_weights, model_.at("vae"));
    EXPECT_EQ(file->vae.scaling_factor, testing::NarrowVae(GetParam()).scaling_factor);
    EXPECT_TRUE(file->files.back().name.starts_with("other_vae/")) << file->files.back().name;
  }
  EXPECT_THAT(OpenCheckpoint(File(), {.vae_path = File()}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no VAE")));
}

TEST_P(SingleFile, Options_GoBeforeEverything) {
  WriteTensors(OriginalLayout(GetParam(), model_), File(), TensorType::kFloat32,
               {{"modelspec.prediction_type", "epsilon"}, {"modelspec.resolution", "320x320"}});
  const auto said = OpenCheckpoint(File(), {});
  ASSERT_OK(said);
  EXPECT_FALSE(said->v_prediction);
  EXPECT_FALSE(said->prediction_guessed);
  EXPECT_EQ(said->image_size, 320);
  const auto set = OpenCheckpoint(File(), {.v_prediction = true, .image_size = 256});
  ASSERT_OK(set);
  EXPECT_TRUE(set->v_prediction);
  EXPECT_TRUE(set->scheduler.v_prediction);
  EXPECT_EQ(set->unet.sample_size, 32);
  EXPECT_THAT(OpenCheckpoint(File(), {.image_size = 257}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no multiple of 8")));
}

TEST_P(SingleFile, YamlBeside_IsReadAndBelongsToTheModel) {
  WriteTensors(OriginalLayout(GetParam(), model_), File());
  WriteTextFile(dir_.File("model.yaml"),
                "model:\n  params:\n    parameterization: v\n    scale_factor: 0.5\n"
                "    linear_end: 0.02\n    unet_config:\n      params: {num_heads: 4}\n");
  const auto file = OpenCheckpoint(File(), {});
  ASSERT_OK(file);
  EXPECT_TRUE(file->v_prediction);
  EXPECT_FALSE(file->prediction_guessed);
  EXPECT_THAT(file->prediction_reason, HasSubstr("model.yaml' has parameterization"));
  EXPECT_EQ(file->vae.scaling_factor, 0.5);
  EXPECT_EQ(file->scheduler.noise_schedule.beta_end, 0.02);
  EXPECT_THAT(file->unet.num_attention_heads, ElementsAre(4, 4, 4));
  ASSERT_EQ(file->files.size(), 2u);
  EXPECT_EQ(file->files[1].name, "model.yaml");
  WriteTextFile(dir_.File("model.yaml"), "model: {params: {parameterization: x0}}");
  EXPECT_THAT(OpenCheckpoint(File(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("model.yaml' line 1")));
}

INSTANTIATE_TEST_SUITE_P(Families, SingleFile, ::testing::ValuesIn(kFamilies),
                         [](const auto& info) {
                           return std::string(info.param == ModelFamily::kSd1   ? "Sd1"
                                              : info.param == ModelFamily::kSd2 ? "Sd2"
                                                                                : "Sdxl");
                         });

TEST(SingleFileKeys, OfSd1WithoutTextModel_AreRead) {
  const ScopedDir dir;
  const TestModel model = NarrowModel(ModelFamily::kSd1);
  TestTensors tensors;
  const std::string prefix = "cond_stage_model.transformer.";
  for (const auto& [key, tensor] : OriginalLayout(ModelFamily::kSd1, model)) {
    const bool text = key.starts_with(prefix + "text_model.");
    tensors[text ? prefix + key.substr(prefix.size() + 11) : key] = tensor;
  }
  tensors[prefix + "embeddings.position_ids"] = {{1, 3}, {0, 1, 2}};
  WriteTensors(tensors, dir.File("x.safetensors"));
  const auto file = OpenCheckpoint(dir.File("x.safetensors"), {});
  ASSERT_OK(file);
  ExpectWeights(file->text_encoders[0], model.at("text_encoder"));
  EXPECT_THAT(file->notes, Not(Contains(HasSubstr("are not used"))));
}

TEST(SingleFileKeys, OfSdxlMerges_SayPrediction) {
  const ScopedDir dir;
  TestTensors tensors = OriginalLayout(ModelFamily::kSdxl, NarrowModel(ModelFamily::kSdxl));
  tensors["v_pred"] = {{0}, {}};
  tensors["ztsnr"] = {{0}, {}};
  WriteTensors(tensors, dir.File("x.safetensors"));
  const auto file = OpenCheckpoint(dir.File("x.safetensors"), {});
  ASSERT_OK(file);
  EXPECT_TRUE(file->v_prediction);
  EXPECT_EQ(file->prediction_reason, "the file has a key 'v_pred'");
  EXPECT_THAT(file->notes, Contains(HasSubstr("'ztsnr'")));
}

TEST(SingleFileKeys, Sd2Guess_IsSaid) {
  const ScopedDir dir;
  WriteTensors(OriginalLayout(ModelFamily::kSd2, NarrowModel(ModelFamily::kSd2)),
               dir.File("x.safetensors"));
  const auto file = OpenCheckpoint(dir.File("x.safetensors"), {});
  ASSERT_OK(file);
  EXPECT_TRUE(file->prediction_guessed);
  EXPECT_THAT(file->notes, Contains(HasSubstr("it is a guess that the model predicts velocity")));
  const auto set = OpenCheckpoint(dir.File("x.safetensors"), {.v_prediction = false});
  ASSERT_OK(set);
  EXPECT_FALSE(set->prediction_guessed);
  EXPECT_EQ(set->image_size, 512);
  EXPECT_THAT(set->notes, Not(Contains(HasSubstr("it is a guess"))));
}

TEST(SingleFileSizes, FromAFewKeysWithLargeNumbers_AreRefused) {
  const ScopedDir dir;
  TestTensors tensors = OriginalLayout(ModelFamily::kSd1, NarrowModel(ModelFamily::kSd1));
  tensors["model.diffusion_model.input_blocks.1.1.transformer_blocks.5000.norm1.bias"] = {{1}, {0}};
  WriteTensors(tensors, dir.File("x.safetensors"));
  EXPECT_THAT(OpenCheckpoint(dir.File("x.safetensors"), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'5000' follows 'down_blocks.0.attentions.0.transformer_blocks.', "
                                 "where no model has more than 32")));
}

TEST(SingleFileSizes, ThatNoPublishedModelHas_AreRefused) {
  const ScopedDir dir;
  TestModel model = NarrowModel(ModelFamily::kSd1);
  TestTensors tensors = OriginalLayout(ModelFamily::kSd1, model);
  tensors["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"] = {
      {2, 60}, std::vector<float>(120)};
  WriteTensors(tensors, dir.File("x.safetensors"));
  EXPECT_THAT(OpenCheckpoint(dir.File("x.safetensors"), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the width 60 is no multiple of CLIP's head size 64")));
}

TEST(Path, OfNothing_SaysWhatIsExpected) {
  EXPECT_THAT(OpenCheckpoint("/nowhere/model", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("expected a diffusers folder")));
  const ScopedDir dir;
  EXPECT_THAT(OpenCheckpoint("me/tiny", {.hub_cache = dir.path()}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("hf download me/tiny")));
}

}  // namespace
}  // namespace neolog
