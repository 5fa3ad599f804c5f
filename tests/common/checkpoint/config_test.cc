#include "common/checkpoint/config.h"

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(UNetConfig, StableDiffusion15_IsRead) {
  const auto c = ParseUNetConfig(
      R"({"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu",
      "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false,
      "cross_attention_dim": 768, "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
      "CrossAttnDownBlock2D", "DownBlock2D"], "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0,
      "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
      "out_channels": 4, "sample_size": 64, "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
      "CrossAttnUpBlock2D"]})",
      "unet/config.json");
  ASSERT_OK(c);
  EXPECT_THAT(c->num_attention_heads, ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(c->layers_per_block, ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(c->down_cross_attention, ElementsAre(true, true, true, false));
  EXPECT_THAT(c->up_cross_attention, ElementsAre(false, true, true, true));
  EXPECT_FALSE(c->use_linear_projection);
}

TEST(UNetConfig, StableDiffusion21_HasHeadsPerBlock) {
  const auto c = ParseUNetConfig(
      R"({"attention_head_dim": [5, 10, 20, 20], "block_out_channels": [320, 640, 1280, 1280],
      "cross_attention_dim": 1024, "use_linear_projection": true, "upcast_attention": true, "dual_cross_attention": false,
      "only_cross_attention": false, "num_class_embeds": null, "sample_size": 96})",
      "unet/config.json");
  ASSERT_OK(c);
  EXPECT_THAT(c->num_attention_heads, ElementsAre(5, 10, 20, 20));
  EXPECT_TRUE(c->use_linear_projection);
  EXPECT_EQ(c->cross_attention_dim, 1024);
}

TEST(ClipConfig, OldCheckpoint_HasTheVocabularysLastTokens) {
  const auto c =
      ParseClipConfig(R"({"model_type": "clip_text_model", "bos_token_id": 0, "eos_token_id": 2,
      "hidden_act": "gelu", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
      "num_hidden_layers": 23, "vocab_size": 49408})",
                      "text_encoder/config.json");
  ASSERT_OK(c);
  EXPECT_EQ(c->bos_token_id, 49406);
  EXPECT_EQ(c->eos_token_id, 49407);
  EXPECT_EQ(c->max_position_embeddings, 77);
  EXPECT_EQ(c->hidden_act, Activation::kGelu);
}

TEST(VaeConfig, Factor_FollowsTheBlocks) {
  const auto c = ParseVaeConfig(
      R"({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2})", "vae/config.json");
  ASSERT_OK(c);
  EXPECT_EQ(c->Factor(), 8);
  EXPECT_EQ(c->scaling_factor, 0.18215);
}

TEST(SchedulerConfig, Defaults_AreTheReferences) {
  const auto c = ParseSchedulerConfig("{}", "scheduler_config.json");
  ASSERT_OK(c);
  EXPECT_EQ(c->noise_schedule.beta_schedule, NoiseScheduleConfig::Betas::kLinear);
  EXPECT_EQ(c->noise_schedule.beta_start, 0.0001);
  EXPECT_FALSE(c->v_prediction);
  const auto v =
      ParseSchedulerConfig(R"({"prediction_type": "v_prediction", "beta_schedule": "scaled_linear",
      "beta_start": 0.00085, "beta_end": 0.012})",
                           "scheduler_config.json");
  ASSERT_OK(v);
  EXPECT_TRUE(v->v_prediction);
}

TEST(Configs, EveryProblem_IsReportedAtOnce) {
  EXPECT_THAT(
      ParseUNetConfig(
          R"({"act_fn": "mish", "block_out_channels": [30, 64, 64, 64], "layers_per_block": [1, 2],
                                  "class_embed_type": "projection", "norm_eps": "small"})",
          "u.json"),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          AllOf(
              HasSubstr("'u.json': "),
              HasSubstr("'act_fn' is \"mish\"; supported: \"silu\", \"swish\""),
              HasSubstr("'layers_per_block' has 2 entries; expected 4, one a block"),
              HasSubstr("'class_embed_type' is \"projection\"; supported: null"),
              HasSubstr("'norm_eps' is \"small\""),
              HasSubstr("'block_out_channels' has 30, which norm_num_groups 32 does not divide"))));
}

struct BadCase {
  const char* name;
  char part;  // c, u, v or s
  const char* json;
  const char* message;
};
class BadConfig : public ::testing::TestWithParam<BadCase> {};
TEST_P(BadConfig, NamesTheKey) {
  const BadCase& p = GetParam();
  absl::Status status;
  if (p.part == 'c') status = ParseClipConfig(p.json, "f").status();
  if (p.part == 'u') status = ParseUNetConfig(p.json, "f").status();
  if (p.part == 'v') status = ParseVaeConfig(p.json, "f").status();
  if (p.part == 's') status = ParseSchedulerConfig(p.json, "f").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("'f': "), HasSubstr(p.message))));
}
INSTANTIATE_TEST_SUITE_P(
    Parts, BadConfig,
    ::testing::Values(
        BadCase{"not_json", 'u', "{", "it is not a JSON object"},
        BadCase{"clip_without_sizes", 'c', "{}", "'hidden_size' is missing"},
        BadCase{"clip_other_model", 'c', R"({"model_type": "t5"})",
                "'model_type' is \"t5\"; supported: \"clip_text_model\""},
        BadCase{
            "clip_heads", 'c',
            R"({"hidden_size": 10, "num_attention_heads": 3, "num_hidden_layers": 1, "intermediate_size": 4})",
            "num_attention_heads 3 does not divide"},
        BadCase{"clip_huge", 'c', R"({"num_hidden_layers": 1000000})",
                "'num_hidden_layers' has 1000000"},
        BadCase{"unet_block", 'u',
                R"({"down_block_types": ["SimpleDownBlock2D"], "up_block_types": ["UpBlock2D"],
                                        "block_out_channels": [32]})",
                "'down_block_types' has \"SimpleDownBlock2D\""},
        BadCase{"unet_blocks_differ", 'u', R"({"up_block_types": ["UpBlock2D"]})",
                "'up_block_types' has 1 entries"},
        BadCase{"unet_heads", 'u', R"({"attention_head_dim": 7})",
                "do not divide the 320 channels of block 0"},
        BadCase{"unet_negative", 'u', R"({"in_channels": -4})", "'in_channels' has -4"},
        BadCase{"unet_fraction", 'u', R"({"in_channels": 4.5})", "'in_channels' has 4.5"},
        BadCase{"unet_huge_integer", 'u', R"({"in_channels": 99999999999999999999})",
                "'in_channels'"},
        BadCase{"vae_without_channels", 'v', "{}", "'block_out_channels' is missing"},
        BadCase{"vae_shift", 'v', R"({"block_out_channels": [32], "shift_factor": 0.1})",
                "'shift_factor' is 0.1"},
        BadCase{"vae_scale", 'v', R"({"block_out_channels": [32], "scaling_factor": 0})",
                "'scaling_factor' is 0"},
        BadCase{"cosine_schedule", 's', R"({"beta_schedule": "squaredcos_cap_v2"})",
                "'beta_schedule'"},
        BadCase{"sample_prediction", 's', R"({"prediction_type": "sample"})",
                "'prediction_type' is \"sample\""},
        BadCase{"zero_snr", 's', R"({"rescale_betas_zero_snr": true})",
                "'rescale_betas_zero_snr' is true"},
        BadCase{"falling_betas", 's', R"({"beta_start": 0.02, "beta_end": 0.01})",
                "'beta_end' is below beta_start"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace neolog
