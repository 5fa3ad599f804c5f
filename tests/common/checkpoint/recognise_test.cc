#include "common/checkpoint/recognise.h"

#include <gmock/gmock.h>

#include "tests/common/checkpoint/model_files.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::NarrowModel;
using ::neolog::testing::OriginalLayout;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::TestTensors;
using ::neolog::testing::WriteTensors;
using ::testing::HasSubstr;

struct OtherCase {
  const char* name;
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors;
  const char* message;
};

class OtherFile : public ::testing::TestWithParam<OtherCase> {};
TEST_P(OtherFile, GivenAsModel_IsCalledByItsName) {
  const ScopedDir dir;
  TestTensors tensors;
  for (const auto& [key, shape] : GetParam().tensors) {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    tensors[key] = {shape, std::vector<float>(count)};
  }
  WriteTensors(tensors, dir.File("x.safetensors"));
  EXPECT_THAT(OpenCheckpoint(dir.File("x.safetensors"), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(std::string("x.safetensors' is ") + GetParam().message)));
}
INSTANTIATE_TEST_SUITE_P(
    Kinds, OtherFile,
    ::testing::Values(
        OtherCase{
            "lora", {{"lora_unet_down_blocks_0_attentions_0.lora_down.weight", {4, 8}}}, "a LoRA"},
        OtherCase{"peft_lora", {{"unet.down_blocks.0.attn.to_k.lora_A.weight", {4, 8}}}, "a LoRA"},
        OtherCase{"embedding", {{"emb_params", {2, 768}}}, "an embedding"},
        OtherCase{"diffusers_embedding", {{"<cat>", {1, 768}}}, "an embedding"},
        OtherCase{"sdxl_embedding", {{"clip_g", {2, 1280}}, {"clip_l", {2, 768}}}, "an embedding"},
        OtherCase{"controlnet", {{"control_model.time_embed.0.weight", {4, 4}}}, "a ControlNet"},
        OtherCase{"vae",
                  {{"encoder.conv_in.weight", {4, 3, 3, 3}}, {"decoder.conv_in.weight", {4}}},
                  "a VAE alone"},
        OtherCase{"unet",
                  {{"model.diffusion_model.input_blocks.0.0.weight", {4, 4, 3, 3}}},
                  "a UNet alone"},
        OtherCase{"diffusers_unet",
                  {{"down_blocks.0.resnets.0.conv1.weight", {4, 4, 3, 3}}},
                  "a UNet alone"},
        OtherCase{"text",
                  {{"text_model.embeddings.token_embedding.weight", {8, 4}}},
                  "a text encoder alone"},
        OtherCase{"without_unet",
                  {{"cond_stage_model.transformer.text_model.x", {8, 4}},
                   {"first_stage_model.encoder.conv_in.weight", {4, 3, 3, 3}}},
                  "a model without UNet"},
        OtherCase{"refiner",
                  {{"conditioner.embedders.0.model.ln_final.weight", {4}},
                   {"model.diffusion_model.out.0.weight", {4}}},
                  "an SDXL refiner"},
        OtherCase{"sd3",
                  {{"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight", {4, 4}}},
                  "an SD 3 model"},
        OtherCase{"flux", {{"double_blocks.0.img_attn.norm.key_norm.scale", {4}}}, "a Flux model"},
        OtherCase{"playground",
                  {{"edm_mean", {4}}, {"model.diffusion_model.x", {1}}},
                  "a Playground 2.5 model"},
        OtherCase{"something", {{"layers.0.weight", {4, 4, 4}}}, "no Stable Diffusion model"},
        OtherCase{"nothing", {}, "a file without tensors"}),
    [](const auto& info) { return std::string(info.param.name); });

// The first convolution of a whole model tells what its UNet is for.
TEST(InputChannels, OfOtherPipelines_AreNamed) {
  const ScopedDir dir;
  for (const auto& [channels, name] :
       {std::pair(9, "an inpainting model"), std::pair(5, "a depth model"),
        std::pair(8, "an instruct-pix2pix model"), std::pair(7, "an upscaling model")}) {
    TestTensors tensors = OriginalLayout(ModelFamily::kSd1, NarrowModel(ModelFamily::kSd1));
    const std::vector<int64_t> shape = {64, channels, 3, 3};
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = {
        shape, std::vector<float>(static_cast<size_t>(64 * channels * 9))};
    WriteTensors(tensors, dir.File("x.safetensors"));
    EXPECT_THAT(OpenCheckpoint(dir.File("x.safetensors"), {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
  }
}

}  // namespace
}  // namespace neolog
