#include "common/checkpoint/memory_estimate.h"

#include <gtest/gtest.h>

#include <vector>

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

// Peaks of the whole process in GB, measured on a CPU with tests/bench/memory_model.py.
TEST(MemoryEstimateTest, OfStableDiffusion15_IsWithinSevenPercentOfWhatWasMeasured) {
  const Checkpoint model = StableDiffusion15();
  struct Measured {
    const char* precision;
    int64_t side, samples;
    double peak;
  };
  for (const Measured& m : std::vector<Measured>{{"fp32", 256, 1, 5.309},
                                                 {"fp32", 256, 2, 6.315},
                                                 {"fp32", 256, 4, 7.895},
                                                 {"bf16", 256, 1, 3.115},
                                                 {"bf16", 256, 2, 3.810},
                                                 {"bf16", 256, 4, 5.448},
                                                 {"fp32", 512, 1, 6.650},
                                                 {"fp32", 512, 2, 9.066},
                                                 {"fp32", 512, 4, 13.620},
                                                 {"bf16", 512, 1, 3.930},
                                                 {"bf16", 512, 2, 5.461},
                                                 {"bf16", 512, 4, 8.203}}) {
    const MemoryEstimate estimate =
        EstimateMemory(model, {.precision = m.precision, .side = m.side});
    EXPECT_NEAR(static_cast<double>(estimate.Total(m.samples)) / 1e9 / m.peak, 1, 0.07)
        << m.precision << " at " << m.side << " px, " << m.samples << " at once";
  }
}

TEST(MemoryEstimateTest, FollowsPrecisionAndDevice) {
  const Checkpoint model = StableDiffusion15();
  const auto estimate = [&](const char* precision, bool gpu = false) {
    return EstimateMemory(model, {.precision = precision, .side = 512, .gpu = gpu});
  };
  // Beside fp16 the VAE is fp32.
  EXPECT_EQ(estimate("fp16").weights - estimate("bf16").weights, 2 * int64_t{83'653'863});
  EXPECT_EQ(estimate("bf16").weights,
            4 * int64_t{123'060'480} + 2 * (int64_t{859'520'964} + 83'653'863));
  // No scores are kept on a GPU.
  EXPECT_LT(estimate("fp32", true).per_sample, estimate("fp32").per_sample);
}

TEST(MemoryEstimateTest, DescribeShortage_SaysWhatToTry) {
  constexpr int64_t kGiga = 1'000'000'000;
  MemoryEstimate estimate{.weights = 2 * kGiga, .per_sample = 3 * kGiga, .program = 0};
  EXPECT_EQ(DescribeShortage(estimate, 8, 15 * kGiga),
            "batch too large for 15.0 GB (microbatch 8 needs about 26.0 GB): try "
            "training.microbatch 4 (about 14.0 GB)");
  EXPECT_EQ(
      DescribeShortage(estimate, 2, 4 * kGiga),
      "batch too large for 4.0 GB (microbatch 2 needs about 8.0 GB): try model.precision bf16 "
      "(fp16 on a GPU without it), or a smaller data.resolution");
  EXPECT_EQ(DescribeShortage(estimate, 4, 24 * kGiga),
            "out of memory, though microbatch 4 needs about 14.0 GB of 24.0 GB: another program, "
            "another worker or a CUDA graph may use it. If not, try training.microbatch 2 (about "
            "8.0 GB)");
  estimate.precision = "bf16";
  EXPECT_EQ(DescribeShortage(estimate, 1, 4 * kGiga),
            "batch too large for 4.0 GB (microbatch 1 needs about 5.0 GB): try a smaller "
            "data.resolution");
}

TEST(MemoryEstimateTest, MostSamples_IsTheLargestPowerOfTwoThatFits) {
  const MemoryEstimate estimate{.weights = 100, .per_sample = 10, .program = 50};
  EXPECT_EQ(estimate.MostSamples(159), 0);
  EXPECT_EQ(estimate.MostSamples(160), 1);
  EXPECT_EQ(estimate.MostSamples(179), 2);
  EXPECT_EQ(estimate.MostSamples(229), 4);
  EXPECT_EQ(estimate.MostSamples(1'000'000), 256);
}

}  // namespace
}  // namespace neolog
