#include "common/checkpoint/key_rules.h"

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Pair {
  const char* original;
  const char* diffusers;  // empty: no rule knows the key
};

std::string Renamed(const KeyRules& rules, const char* key) {
  const auto names = Rename(rules, {.unet_layers = 2, .vae_levels = 4}, key);
  return names.empty() ? "" : names[0].key;
}

// Pairs as diffusers 0.36 converts the published files.
TEST(OriginalUNetRules, Keys_AreThoseOfDiffusers) {
  const Pair pairs[] = {
      {"time_embed.0.weight", "time_embedding.linear_1.weight"},
      {"label_emb.0.2.bias", "add_embedding.linear_2.bias"},
      {"input_blocks.0.0.bias", "conv_in.bias"},
      {"input_blocks.1.0.in_layers.0.weight", "down_blocks.0.resnets.0.norm1.weight"},
      {"input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight",
       "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight"},
      {"input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"},
      {"input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"},
      {"input_blocks.11.0.emb_layers.1.bias", "down_blocks.3.resnets.1.time_emb_proj.bias"},
      {"middle_block.2.out_layers.3.weight", "mid_block.resnets.1.conv2.weight"},
      {"middle_block.1.proj_in.weight", "mid_block.attentions.0.proj_in.weight"},
      {"output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"},
      {"output_blocks.5.2.conv.bias", "up_blocks.1.upsamplers.0.conv.bias"},
      {"output_blocks.5.1.norm.bias", "up_blocks.1.attentions.2.norm.bias"},
      {"output_blocks.11.0.out_layers.0.weight", "up_blocks.3.resnets.2.norm2.weight"},
      {"out.2.weight", "conv_out.weight"},
      {"input_blocks.1.0.in_layers.1.weight", ""},
      {"input_blocks.x.0.op.weight", ""},
      {"input_blocks.-1.0.op.weight", ""},
      {"input_blocks.99999999999999999999.0.op.weight", ""},
      {"input_hint_block.0.weight", ""},
  };
  for (const Pair& pair : pairs)
    EXPECT_EQ(Renamed(OriginalUNetRules(), pair.original), pair.diffusers) << pair.original;
}

TEST(OriginalVaeRules, Keys_AreThoseOfDiffusers) {
  const Pair pairs[] = {
      {"encoder.down.0.block.1.norm2.bias", "encoder.down_blocks.0.resnets.1.norm2.bias"},
      {"encoder.down.1.block.0.nin_shortcut.weight",
       "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"},
      {"encoder.down.2.downsample.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight"},
      {"decoder.up.0.block.2.conv1.weight", "decoder.up_blocks.3.resnets.2.conv1.weight"},
      {"decoder.up.3.upsample.conv.bias", "decoder.up_blocks.0.upsamplers.0.conv.bias"},
      {"decoder.mid.block_2.norm1.weight", "decoder.mid_block.resnets.1.norm1.weight"},
      {"encoder.mid.attn_1.proj_out.weight", "encoder.mid_block.attentions.0.to_out.0.weight"},
      {"encoder.mid.attn_1.norm.bias", "encoder.mid_block.attentions.0.group_norm.bias"},
      {"decoder.mid.attn_1.k.weight", "decoder.mid_block.attentions.0.to_k.weight"},
      {"decoder.norm_out.weight", "decoder.conv_norm_out.weight"},
      {"post_quant_conv.weight", "post_quant_conv.weight"},
      {"loss.logvar", ""},
  };
  for (const Pair& pair : pairs)
    EXPECT_EQ(Renamed(OriginalVaeRules(), pair.original), pair.diffusers) << pair.original;
}

TEST(OpenClipRules, FusedProjection_IsThreeSlices) {
  const auto names = Rename(OpenClipRules(), {}, "transformer.resblocks.22.attn.in_proj_weight");
  ASSERT_EQ(names.size(), 3u);
  EXPECT_EQ(names[0].key, "text_model.encoder.layers.22.self_attn.q_proj.weight");
  EXPECT_EQ(names[1].key, "text_model.encoder.layers.22.self_attn.k_proj.weight");
  EXPECT_EQ(names[2].key, "text_model.encoder.layers.22.self_attn.v_proj.weight");
  EXPECT_EQ(names[2].reading, Reading::kLastThird);
  const auto projection = Rename(OpenClipRules(), {}, "text_projection");
  ASSERT_EQ(projection.size(), 1u);
  EXPECT_EQ(projection[0].reading, Reading::kTransposed);
}

TEST(OldNames, AreReadToo) {
  EXPECT_EQ(Renamed(ClipRules(), "encoder.layers.0.mlp.fc1.bias"),
            "text_model.encoder.layers.0.mlp.fc1.bias");
  EXPECT_EQ(Renamed(ClipRules(), "text_model.final_layer_norm.bias"),
            "text_model.final_layer_norm.bias");
  EXPECT_EQ(Renamed(DiffusersVaeRules(), "decoder.mid_block.attentions.0.proj_attn.weight"),
            "decoder.mid_block.attentions.0.to_out.0.weight");
  EXPECT_EQ(Renamed(DiffusersVaeRules(), "decoder.mid_block.attentions.0.group_norm.weight"),
            "decoder.mid_block.attentions.0.group_norm.weight");
}

TEST(RenameAll, TwoKeysOfOneWeight_AreRefused) {
  WeightTable table;
  table["text_model.encoder.x"].key = "text_model.encoder.x";
  table["encoder.x"].key = "encoder.x";
  std::vector<std::string> unknown;
  EXPECT_THAT(RenameAll(table, "", ClipRules(), {}, &unknown),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("are the same weight")));
}

TEST(RenameAll, FusedWeightThatCannotBeCut_IsRefused) {
  WeightTable table;
  WeightSource& fused = table["transformer.resblocks.0.attn.in_proj_bias"];
  fused.key = "transformer.resblocks.0.attn.in_proj_bias";
  fused.view.shape = {64};
  std::vector<std::string> unknown;
  EXPECT_THAT(RenameAll(table, "", OpenClipRules(), {}, &unknown),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'transformer.resblocks.0.attn.in_proj_bias': has shape [64]")));
}

TEST(SummariseKeys, CountsByPrefix) {
  EXPECT_EQ(SummariseKeys({"a.b.c", "a.b.d", "e.f", "g"}), "2 below 'a.b.', 'e.f', 'g'");
  EXPECT_EQ(SummariseKeys({""}), "''");
}

}  // namespace
}  // namespace neolog
