#include "common/checkpoint/hints.h"

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(HintsOfYaml, Sd2_IsRead) {
  const auto hints = HintsOfYaml(R"(
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    image_size: 64
    scale_factor: 0.18215
    unet_config:
      params:
        image_size: 32 # unused
        num_head_channels: 64 # need to fix for flash-attn
        use_linear_in_transformer: True
)",
                                 "m.yaml");
  ASSERT_OK(hints);
  EXPECT_EQ(hints->v_prediction, true);
  EXPECT_EQ(hints->v_prediction_source, "'m.yaml' has parameterization \"v\"");
  EXPECT_EQ(hints->image_size, std::nullopt);
  EXPECT_EQ(hints->scaling_factor, 0.18215);
  EXPECT_EQ(hints->head_channels, 64);
  EXPECT_EQ(hints->heads, std::nullopt);
  EXPECT_EQ(hints->linear_projection, true);
  EXPECT_EQ(hints->beta_end, 0.012);
  EXPECT_EQ(hints->timesteps, 1000);
}

TEST(HintsOfYaml, Sdxl_IsRead) {
  const auto hints = HintsOfYaml(R"(
model:
  params:
    scale_factor: 0.13025
    image_size: 96
    denoiser_config:
      params:
        scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling}
    network_config:
      params: {num_heads: -1, num_head_channels: 64}
)",
                                 "m.yaml");
  ASSERT_OK(hints);
  EXPECT_EQ(hints->v_prediction, true);
  EXPECT_EQ(hints->image_size, 768);
  EXPECT_EQ(hints->heads, std::nullopt);
  EXPECT_EQ(hints->head_channels, 64);
}

TEST(HintsOfYaml, BadValues_AreNamedWithTheirLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"model:\n  params:\n    parameterization: x0\n", "line 3: 'parameterization' has 'x0'"},
      {"model:\n  params:\n    scale_factor: [1]\n", "'scale_factor' has ''; expected a number"},
      {"model:\n  params:\n    timesteps: 2.5\n", "expected an integer"},
      {"model:\n  params:\n    unet_config:\n      params: {num_heads: 0}\n",
       "'num_heads' has '0'; expected a number from 1"},
      {"model: [\n", "'m.yaml' line"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(HintsOfYaml(text, "m.yaml"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
  EXPECT_OK(HintsOfYaml("", "m.yaml"));
}

TEST(HintsOfFile, Texts_AreRead) {
  const ModelHints v = HintsOfFile({{"modelspec.architecture", "stable-diffusion-v2-768-v"},
                                    {"modelspec.resolution", "768x768"}},
                                   {});
  EXPECT_EQ(v.v_prediction, true);
  EXPECT_EQ(v.image_size, 768);
  EXPECT_EQ(HintsOfFile({{"modelspec.architecture", "stable-diffusion-v2-512"}}, {}).v_prediction,
            false);
  EXPECT_EQ(HintsOfFile({{"modelspec.architecture", "stable-diffusion-v2-768-v"},
                         {"modelspec.prediction_type", "epsilon"}},
                        {})
                .v_prediction,
            false);
  EXPECT_EQ(HintsOfFile({{"ss_v_parameterization", "True"}}, {}).v_prediction, true);
  EXPECT_EQ(HintsOfFile({{"global_step", "875000"}}, {}).v_prediction, false);
  EXPECT_EQ(HintsOfFile({{"global_step", "875001"}}, {}).v_prediction, std::nullopt);
  WeightTable table;
  table["v_pred"];
  EXPECT_EQ(HintsOfFile({}, table).v_prediction, true);
  EXPECT_EQ(HintsOfFile({{"modelspec.resolution", "large"}}, {}).image_size, std::nullopt);
  EXPECT_EQ(HintsOfFile({}, {}).v_prediction, std::nullopt);
}

TEST(MergeHints, TheFirstCounts) {
  ModelHints first, second;
  first.v_prediction = false;
  first.v_prediction_source = "a";
  second.v_prediction = true;
  second.v_prediction_source = "b";
  second.image_size = 512;
  const ModelHints merged = Merge(first, second);
  EXPECT_EQ(merged.v_prediction, false);
  EXPECT_EQ(merged.v_prediction_source, "a");
  EXPECT_EQ(merged.image_size, 512);
}

}  // namespace
}  // namespace neolog
