#include "worker/diffusion/attention_check.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"

namespace neolog::diffusion {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Of SD 1.5: heads of 40, 80 and 160.
UNetConfig Config() {
  UNetConfig config;
  config.block_out_channels = {320, 640, 1280, 1280};
  config.num_attention_heads = {8, 8, 8, 8};
  config.down_cross_attention = {true, true, true, false};
  config.up_cross_attention = {false, true, true, true};
  return config;
}

TEST(CheckFusedAttentionTest, NamesTheKernelOfEveryHeadSizeThatIsFused) {
  for (const Precision precision :
       {Precision::kFloat32, Precision::kBFloat16, Precision::kFloat16}) {
    const ModelOptions options{.precision = precision};
    // 64 x 64 and 32 x 32 positions; from 2048 x 1024 scores on a CPU fuses.
    EXPECT_EQ(CheckFusedAttention(Config(), 64, options).value(), "flash for heads of 40");
    EXPECT_EQ(CheckFusedAttention(Config(), 128, options).value(), "flash for heads of 40, 80");
    EXPECT_EQ(CheckFusedAttention(Config(), 32, options).value(), "none is fused");
  }
  EXPECT_EQ(CheckFusedAttention(Config(), 64, {.attention = AttentionKernel::kMatmul}).value(),
            "none is fused");
}

TEST(CheckFusedAttentionTest, SlowPath_IsRefused_NamingTheHeads) {
  at::globalContext().setSDPUseFlash(false);
  const auto checked = CheckFusedAttention(Config(), 64, {});
  at::globalContext().setSDPUseFlash(true);
  EXPECT_THAT(checked, StatusIs(absl::StatusCode::kFailedPrecondition,
                                AllOf(HasSubstr("heads of 40 of 4096 x 4096 positions"),
                                      HasSubstr("model.allow_slow_attention: true"))));
}

TEST(CheckFusedAttentionTest, UnknownDevice_IsAnError) {
  EXPECT_THAT(CheckFusedAttention(Config(), 64, {.device = "tpu"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'tpu'")));
}

}  // namespace
}  // namespace neolog::diffusion
