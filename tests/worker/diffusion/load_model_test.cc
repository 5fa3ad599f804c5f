// Loading the committed narrow model, and everything that can be wrong with a model folder.

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>

#include <filesystem>
#include <functional>
#include <limits>

#include "common/tensor_file/safetensors.h"
#include "tests/common/checkpoint/model_files.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "worker/diffusion/model.h"
#include "worker/torch_support/tensors.h"

namespace neolog::diffusion {
namespace {

namespace fs = std::filesystem;
using ::neolog::testing::Normal;
using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::HasSubstr;

// A copy of the narrow model that a test may spoil.
class Folder {
 public:
  Folder() {
    fs::copy(SourcePath("tests/golden/narrow_sd1/model"), dir_.File("model"),
             fs::copy_options::recursive);
  }
  std::string path() const { return dir_.File("model"); }
  std::string File(const std::string& name) const { return path() + "/" + name; }
  void Replace(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = ReadFileOrDie(File(file));
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    WriteFileOrDie(File(file), text.replace(at, from.size(), to));
  }
  // Rewrites a weights file; `change` sees its tensors by key.
  void Rewrite(const std::string& file,
               const std::function<void(std::map<std::string, at::Tensor>&)>& change) const {
    std::map<std::string, at::Tensor> tensors;
    {
      auto in = SafetensorsFile::Open(File(file));
      ASSERT_OK(in);
      for (const auto& [key, view] : (*in)->tensors()) {
        tensors[key] = torch_support::TensorOver(view, nullptr).clone();
      }
    }
    change(tensors);
    std::map<std::string, TensorView> views;
    for (const auto& [key, tensor] : tensors) views[key] = torch_support::ViewOf(tensor).value();
    WriteFileOrDie(File(file), SerializeSafetensors(views, {}).value());
  }

 private:
  ScopedDir dir_;
};

constexpr char kClip[] = "text_encoder/model.safetensors";
constexpr char kUNet[] = "unet/diffusion_pytorch_model.safetensors";
constexpr char kVae[] = "vae/diffusion_pytorch_model.safetensors";

std::unique_ptr<Model> LoadOrDie(const std::string& path, const ModelOptions& options = {}) {
  auto model = LoadModel(path, options);
  EXPECT_OK(model);
  return std::move(model).value();
}

// Text, prediction and pictures of a model for fixed inputs.
std::vector<at::Tensor> Fingerprint(const Model& model) {
  const int64_t t = model.info().text_positions;
  at::Tensor ids = at::full({1, t}, model.info().end_token, at::kLong);
  ids[0][0] = model.info().start_token;
  ids[0][1] = 3;
  at::Tensor slots = at::full_like(ids, -1);
  slots[0][2] = 0;
  const Conditioning text =
      model.EncodeText({{ids, slots, Normal({1, model.info().text_widths[0]}, 1)}});
  const auto [mean, logvar] = model.EncodeImage(Normal({1, 3, 16, 24}, 2).clamp(-1, 1));
  return {text.hidden,
          model.PredictNoise(Normal({1, 4, 8, 8}, 3), at::tensor({int64_t{500}}), text), mean,
          logvar, model.DecodeLatents(Normal({1, 4, 2, 3}, 4))};
}

TEST(LoadModel, NarrowModel_HasItsSizes) {
  const auto model = LoadOrDie(SourcePath("tests/golden/narrow_sd1/model"));
  const ModelInfo& info = model->info();
  EXPECT_EQ(info.text_widths, std::vector<int64_t>{32});
  EXPECT_EQ(info.text_positions, 77);
  EXPECT_EQ(info.start_token, info.vocabulary - 2);
  EXPECT_EQ(info.end_token, info.vocabulary - 1);
  EXPECT_EQ(info.latent_channels, 4);
  EXPECT_EQ(info.latent_factor, 8);
  EXPECT_EQ(info.sample_size, 8);
  EXPECT_EQ(info.scaling_factor, 0.18215);
  EXPECT_EQ(info.prediction, PredictionType::kEpsilon);
  EXPECT_EQ(model->AlphasCumprod().numel(), 1000);
  const auto outputs = Fingerprint(*model);
  EXPECT_EQ(outputs[0].sizes(), (std::vector<int64_t>{1, 77, 32}));
  EXPECT_EQ(outputs[2].sizes(), (std::vector<int64_t>{1, 4, 2, 3}));
  EXPECT_EQ(outputs[4].sizes(), (std::vector<int64_t>{1, 3, 16, 24}));
}

TEST(LoadModel, TokenEmbeddings_AreTheTables) {
  const Folder folder;
  at::Tensor table;
  folder.Rewrite(kClip, [&](auto& tensors) {
    table = tensors.at("text_model.embeddings.token_embedding.weight").clone();
  });
  const auto model = LoadOrDie(folder.path());
  EXPECT_TRUE(model->TokenEmbeddings(0, {5, 0, 5})
                  .equal(table.index_select(0, at::tensor({5, 0, 5}, at::kLong))));
}

struct GoodCase {
  const char* name;
  std::function<void(const Folder&)> change;
};
class SameModel : public ::testing::TestWithParam<GoodCase> {};

// Other ways to write the same model.
TEST_P(SameModel, GivesTheSameBits) {
  const Folder folder;
  const auto before = Fingerprint(*LoadOrDie(folder.path()));
  GetParam().change(folder);
  const auto after = Fingerprint(*LoadOrDie(folder.path()));
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(after[i].equal(before[i])) << i;
}
void RenamePrefix(std::map<std::string, at::Tensor>& tensors, const std::string& from,
                  const std::string& to) {
  std::map<std::string, at::Tensor> renamed;
  for (auto& [key, tensor] : tensors) {
    const size_t at = key.find(from);
    renamed[at == std::string::npos ? key : std::string(key).replace(at, from.size(), to)] = tensor;
  }
  tensors = std::move(renamed);
}
INSTANTIATE_TEST_SUITE_P(
    Layouts, SameModel,
    ::testing::Values(
        GoodCase{"text_model_prefix_left_out",
                 [](const Folder& f) {
                   f.Rewrite(kClip, [](auto& t) { RenamePrefix(t, "text_model.", ""); });
                 }},
        GoodCase{"position_ids_and_projection",
                 [](const Folder& f) {
                   f.Rewrite(kClip, [](auto& t) {
                     t["text_model.embeddings.position_ids"] = at::full({1, 77}, 1, at::kLong);
                     t["text_projection.weight"] = Normal({32, 32}, 1);
                   });
                 }},
        GoodCase{"old_names_of_the_vae_attention",
                 [](const Folder& f) {
                   f.Rewrite(kVae, [](auto& t) {
                     RenamePrefix(t, ".to_q.", ".query.");
                     RenamePrefix(t, ".to_k.", ".key.");
                     RenamePrefix(t, ".to_v.", ".value.");
                     RenamePrefix(t, ".to_out.0.", ".proj_attn.");
                   });
                 }},
        GoodCase{"fp16_variant_name",
                 [](const Folder& f) {
                   fs::rename(f.File(kUNet),
                              f.File("unet/diffusion_pytorch_model.fp16.safetensors"));
                 }},
        GoodCase{"weights_called_bin",
                 [](const Folder& f) {
                   fs::rename(f.File(kUNet), f.File("unet/diffusion_pytorch_model.bin"));
                 }},
        GoodCase{"a_part_that_no_model_has",
                 [](const Folder& f) {
                   f.Rewrite(kVae, [](auto& t) { t["encoder.extra.weight"] = Normal({1}, 1); });
                 }},
        GoodCase{"float64_weights",
                 [](const Folder& f) {
                   f.Rewrite(kUNet, [](auto& t) {
                     for (auto& [key, tensor] : t) tensor = tensor.to(at::kDouble);
                   });
                 }},
        GoodCase{"no_tokenizer", [](const Folder& f) { fs::remove_all(f.File("tokenizer")); }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(LoadModel, SixteenBitWeights_AreCastOnce) {
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const Folder folder;
    const auto exact = Fingerprint(*LoadOrDie(folder.path()));
    for (const char* file : {kClip, kUNet, kVae}) {
      folder.Rewrite(file, [&](auto& tensors) {
        for (auto& [key, tensor] : tensors) tensor = tensor.to(type);
      });
    }
    const auto rounded = Fingerprint(*LoadOrDie(folder.path()));
    for (size_t i = 0; i < exact.size(); ++i) {
      const double error =
          (rounded[i] - exact[i]).abs().max().item<float>() / exact[i].abs().max().item<float>();
      EXPECT_GT(error, 0) << i;
      EXPECT_LT(error, 0.05) << i;  // eight bits of mantissa through some twenty layers
    }
  }
}

TEST(LoadModel, VaeOfFp16_ComputesInFp32) {
  const auto exact = LoadOrDie(SourcePath("tests/golden/narrow_sd1/model"));
  const auto half =
      LoadOrDie(SourcePath("tests/golden/narrow_sd1/model"), {.precision = Precision::kFloat16});
  const at::Tensor latents = Normal({1, 4, 2, 2}, 1);
  EXPECT_TRUE(half->DecodeLatents(latents).equal(exact->DecodeLatents(latents)));
}

struct BadCase {
  const char* name;
  std::function<void(const Folder&)> change;
  absl::StatusCode code;
  const char* message;
};
class BadModel : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadModel, IsRefusedByName) {
  const Folder folder;
  GetParam().change(folder);
  EXPECT_THAT(LoadModel(folder.path(), {}),
              StatusIs(GetParam().code, HasSubstr(GetParam().message)));
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
INSTANTIATE_TEST_SUITE_P(
    Folders, BadModel,
    ::testing::Values(
        BadCase{"no_folder", [](const Folder& f) { fs::remove_all(f.path()); },
                absl::StatusCode::kNotFound, "there is no model '"},
        BadCase{"a_file",
                [](const Folder& f) {
                  fs::remove_all(f.path());
                  WriteFileOrDie(f.path(), "x");
                },
                kInvalid, "byte 1: the file ends inside the 8-byte header length"},
        BadCase{"no_index", [](const Folder& f) { fs::remove(f.File("model_index.json")); },
                kInvalid, "model_index.json is missing"},
        BadCase{"broken_index",
                [](const Folder& f) { WriteFileOrDie(f.File("model_index.json"), "{"); }, kInvalid,
                "model_index.json': it is not a JSON object"},
        BadCase{"sd3",
                [](const Folder& f) {
                  f.Replace("model_index.json", "StableDiffusionPipeline",
                            "StableDiffusion3Pipeline");
                },
                kInvalid, "StableDiffusion3Pipeline; supported: StableDiffusionPipeline"},
        BadCase{"sdxl_without_its_second_encoder",
                [](const Folder& f) {
                  f.Replace("model_index.json", "StableDiffusionPipeline",
                            "StableDiffusionXLPipeline");
                },
                kInvalid, "text_encoder_2/config.json' is missing"},
        BadCase{"no_unet_config", [](const Folder& f) { fs::remove(f.File("unet/config.json")); },
                kInvalid, "unet/config.json' is missing"},
        BadCase{"broken_config",
                [](const Folder& f) { WriteFileOrDie(f.File("vae/config.json"), "[]"); }, kInvalid,
                "vae/config.json': it is not a JSON object"},
        BadCase{"no_weights", [](const Folder& f) { fs::remove(f.File(kVae)); }, kInvalid,
                "/vae' has no weights; expected 'diffusion_pytorch_model.safetensors'"},
        BadCase{"split_weights",
                [](const Folder& f) {
                  fs::rename(f.File(kUNet),
                             f.File("unet/diffusion_pytorch_model.safetensors.index.json"));
                },
                kInvalid, "expected an object \"weight_map\""},
        BadCase{"cut_weights",
                [](const Folder& f) {
                  fs::resize_file(f.File(kUNet), fs::file_size(f.File(kUNet)) - 5);
                },
                kInvalid, "unet/diffusion_pytorch_model.safetensors"},
        BadCase{"missing_key",
                [](const Folder& f) {
                  f.Rewrite(kUNet, [](auto& t) { t.erase("mid_block.resnets.1.conv2.bias"); });
                },
                kInvalid, "weights are missing: 'mid_block.resnets.1.conv2.bias'"},
        BadCase{"wrong_shape",
                [](const Folder& f) {
                  f.Rewrite(kUNet, [](auto& t) { t["conv_in.weight"] = Normal({32, 4, 1, 1}, 1); });
                },
                kInvalid, "'conv_in.weight' has shape [32, 4, 1, 1], expected [32, 4, 3, 3]"},
        BadCase{"nan_in_a_weight_that_is_cast",
                [](const Folder& f) {
                  f.Rewrite(kUNet, [](auto& t) {
                    at::Tensor& weight = t["mid_block.resnets.0.conv1.weight"];
                    weight = weight.to(at::kHalf);
                    weight.view({-1})[17] = std::numeric_limits<float>::quiet_NaN();
                  });
                },
                kInvalid, "'mid_block.resnets.0.conv1.weight' holds NaN or infinity"},
        BadCase{"other_text_width",
                [](const Folder& f) {
                  f.Replace("unet/config.json", "\"cross_attention_dim\": 32",
                            "\"cross_attention_dim\": 64");
                },
                kInvalid,
                "'cross_attention_dim' is 64, but the text encoder's 'hidden_size' is 32"},
        BadCase{"inpainting",
                [](const Folder& f) {
                  f.Replace("unet/config.json", "\"in_channels\": 4", "\"in_channels\": 9");
                },
                kInvalid, "inpainting"},
        BadCase{"tokens_outside",
                [](const Folder& f) {
                  WriteFileOrDie(f.File("tokenizer/vocab.json"), R"({"<|startoftext|>": 1})");
                },
                kInvalid, "\"<|endoftext|>\" has no id"}),
    [](const auto& info) { return std::string(info.param.name); });

// SD 2 and SDXL: tests/worker/replay/single_file_test.cc.
TEST(LoadModel, SingleFileOfSd1_IsTheFoldersModel) {
  const ScopedDir dir;
  auto weights = testing::NarrowModel(ModelFamily::kSd1);
  for (auto& [part, tensors] : weights) {
    for (auto& [key, tensor] : tensors) {
      for (float& value : tensor.values) value /= 32;
    }
  }
  testing::WriteNarrowFolder(ModelFamily::kSd1, weights, dir.File("folder"));
  const auto original = testing::OriginalLayout(ModelFamily::kSd1, weights);
  testing::WriteTensors(original, dir.File("m.safetensors"));
  testing::WriteTorchFile(original, dir.File("new.ckpt"), /*legacy=*/false);
  testing::WriteTorchFile(original, dir.File("old.ckpt"), /*legacy=*/true);
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    const ModelOptions options{.precision = precision};
    const auto folder = Fingerprint(*LoadOrDie(dir.File("folder"), options));
    for (const at::Tensor& tensor : folder)
      EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << tensor.sizes();
    for (const char* name : {"m.safetensors", "new.ckpt", "old.ckpt"}) {
      const auto file = Fingerprint(*LoadOrDie(dir.File(name), options));
      for (size_t i = 0; i < folder.size(); ++i) {
        EXPECT_TRUE(file[i].equal(folder[i])) << name << " " << i;
      }
    }
  }
}

TEST(LoadModel, NumberBeyondTheType_IsNamed) {
  const Folder folder;
  folder.Rewrite(kUNet, [](auto& t) { t["conv_out.weight"].view({-1})[3] = 1e5f; });
  EXPECT_OK(LoadModel(folder.path(), {}));
  EXPECT_THAT(LoadModel(folder.path(), {.precision = Precision::kFloat16}),
              StatusIs(kInvalid, HasSubstr("'conv_out.weight' holds 100000, beyond F16's 65504")));
}

TEST(LoadModel, Prediction_CanBeSet) {
  const auto model = LoadOrDie(SourcePath("tests/golden/narrow_sd1/model"),
                               {.checkpoint = {.v_prediction = true, .image_size = 128}});
  EXPECT_EQ(model->info().prediction, PredictionType::kVPrediction);
  EXPECT_EQ(model->info().sample_size, 16);
}

TEST(LoadModel, UnknownDevice_IsRefused) {
  EXPECT_THAT(LoadModel(SourcePath("tests/golden/narrow_sd1/model"), {.device = "tpu"}),
              StatusIs(kInvalid, HasSubstr("device 'tpu'")));
}

}  // namespace
}  // namespace neolog::diffusion
