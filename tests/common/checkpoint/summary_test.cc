#include "common/checkpoint/summary.h"

#include <gmock/gmock.h>

#include "common/checkpoint/shapes.h"

namespace neolog {
namespace {

// A part without bytes.
CheckpointPart PartOf(const char* name, const Shapes& shapes) {
  CheckpointPart part{name, {}};
  for (const auto& [key, shape] : shapes) part.weights[key].view.shape = shape;
  return part;
}

Checkpoint StableDiffusion15() {
  Checkpoint c;
  c.clips.push_back({});
  c.unet = {.down_cross_attention = {true, true, true, false},
            .up_cross_attention = {false, true, true, true},
            .block_out_channels = {320, 640, 1280, 1280},
            .layers_per_block = {2, 2, 2, 2},
            .transformer_layers_per_block = {1, 1, 1, 1},
            .num_attention_heads = {8, 8, 8, 8}};
  c.vae.block_out_channels = {128, 256, 512, 512};
  c.text_encoders.push_back(PartOf("text_encoder", ClipShapes(c.clips[0])));
  c.unet_weights = PartOf("unet", UNetShapes(c.unet));
  c.vae_weights = PartOf("vae", VaeShapes(c.vae));
  return c;
}

TEST(MemoryEstimate, OfStableDiffusion15_IsNearWhatWasMeasured) {
  const Checkpoint c = StableDiffusion15();
  // The README's peaks at 512 pixels, one sample: 6.5 and 3.9 GB.
  EXPECT_NEAR(EstimateMemory(c, "fp32", 512).Total(1) / 1e9, 6.5, 0.4);
  EXPECT_NEAR(EstimateMemory(c, "bf16", 512).Total(1) / 1e9, 3.9, 0.6);
  EXPECT_NEAR(EstimateMemory(c, "bf16", 512).per_sample / 1e9, 0.95, 0.01);
}

TEST(MemoryEstimate, FollowsPrecisionAndSize) {
  const Checkpoint c = StableDiffusion15();
  const MemoryEstimate half = EstimateMemory(c, "fp16", 512), bf16 = EstimateMemory(c, "bf16", 512);
  // Beside fp16 the VAE is fp32.
  EXPECT_EQ(half.weights - bf16.weights, 2 * int64_t{83'653'863});
  EXPECT_EQ(bf16.weights, 4 * int64_t{123'060'480} + 2 * (int64_t{859'520'964} + 83'653'863));
  EXPECT_NEAR(static_cast<double>(EstimateMemory(c, "bf16", 1024).per_sample),
              4.0 * static_cast<double>(bf16.per_sample), 10);
}

}  // namespace
}  // namespace neolog
