#include "worker/train/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/plan/philox.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"
#include "worker/torch_support/runtime.h"

namespace neolog::train {
namespace {

using diffusion::AttentionKernel;
using diffusion::Precision;

// Bytes of loss and gradient of one slot.
std::string BytesOf(const MicrobatchResult& result, int64_t slot) {
  const at::Tensor loss = result.losses.narrow(0, slot, 1).contiguous();
  const at::Tensor gradient = result.gradients[slot].contiguous();
  return std::string(reinterpret_cast<const char*>(loss.data_ptr<float>()), sizeof(float)) +
         std::string(reinterpret_cast<const char*>(gradient.data_ptr<float>()),
                     static_cast<size_t>(gradient.numel()) * sizeof(float));
}

struct Variant {
  const char* name;
  AttentionKernel attention;
  Precision precision;
};

class LossTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    ASSERT_OK(torch_support::SetUpRuntime({.threads = 1}));
    const std::string path = neolog::testing::SourcePath("configs/demo/model");
    diffusion::ModelOptions options;
    options.attention = GetParam().attention;
    options.precision = GetParam().precision;
    ASSERT_OK_AND_ASSIGN(model_, diffusion::LoadModel(path, options));
    ASSERT_OK_AND_ASSIGN(tokenizers_, LoadTokenizers(OpenCheckpoint(path, {}).value()));
    for (uint32_t i = 0; i < 4; ++i) {
      ASSERT_OK_AND_ASSIGN(
          prompts_.emplace_back(),
          dataset::EncodePrompt(tokenizers_, i % 2 == 0 ? "a photo of zesko" : "zesko on a beach",
                                {"zesko", 2}, model_->info().text_positions));
      posteriors_.push_back({Normal(100 + i, {4, 16, 16}), Normal(200 + i, {4, 16, 16}).abs()});
    }
    rows_ = Normal(300, {2 * model_->info().text_widths[0]}) * 0.1;
  }

  static at::Tensor Normal(uint32_t stream, at::IntArrayRef shape) {
    at::Tensor values = at::empty(shape, at::kFloat);
    FillNormal({1, RandomPurpose::kDiffusionNoise, stream, 0},
               {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
    return values;
  }

  SampleInput Sample(uint32_t i) const {
    SampleInput sample;
    sample.plan.timestep = 100 + 200 * i;
    sample.plan.posterior_noise = {1, RandomPurpose::kPosteriorNoise, i, 0};
    sample.plan.diffusion_noise = {1, RandomPurpose::kDiffusionNoise, i, 0};
    sample.prompt = &prompts_[i];
    sample.posterior = &posteriors_[i];
    return sample;
  }

  MicrobatchResult Compute(const std::vector<uint32_t>& numbers, uint32_t size,
                           float loss_scale = 1) const {
    std::vector<SampleInput> samples;
    for (const uint32_t i : numbers) samples.push_back(Sample(i));
    return ComputeLossAndGradient(*model_, MakeMicrobatch(*model_, samples, size),
                                  static_cast<uint32_t>(numbers.size()), rows_, loss_scale);
  }

  std::unique_ptr<diffusion::Model> model_;
  dataset::Tokenizers tokenizers_;
  std::vector<dataset::EncodedPrompt> prompts_;
  std::vector<dataset::Posterior> posteriors_;
  at::Tensor rows_;
};

// The fact that everything about teams and packs stands on.
TEST_P(LossTest, SlotAndNeighbours_DoNotChangeASample) {
  for (const uint32_t size : {2u, 4u}) {
    SCOPED_TRACE(size);
    std::vector<std::string> expected;
    for (uint32_t i = 0; i < 4; ++i) expected.push_back(BytesOf(Compute({i}, size), 0));
    const std::vector<std::vector<uint32_t>> batches =
        size == 2 ? std::vector<std::vector<uint32_t>>{{0, 1}, {1, 0}, {2, 3}, {3, 1}, {1, 1}}
                  : std::vector<std::vector<uint32_t>>{
                        {0, 1, 2, 3}, {3, 2, 1, 0}, {2, 2, 0, 1}, {1, 3}, {0, 3, 2}};
    for (const std::vector<uint32_t>& batch : batches) {
      const MicrobatchResult result = Compute(batch, size);
      for (size_t slot = 0; slot < batch.size(); ++slot) {
        EXPECT_EQ(BytesOf(result, static_cast<int64_t>(slot)), expected[batch[slot]])
            << ::testing::PrintToString(batch) << " slot " << slot;
      }
    }
  }
}

TEST_P(LossTest, PaddedSlots_HaveNoGradient) {
  const MicrobatchResult result = Compute({0, 1}, 4);
  EXPECT_TRUE(result.gradients[0].ne(0).any().item<bool>());
  EXPECT_FALSE(result.gradients[2].ne(0).any().item<bool>());
  EXPECT_FALSE(result.gradients[3].ne(0).any().item<bool>());
}

TEST_P(LossTest, LossScale_LeavesTheLossAlone_AndIsTakenOutOfTheGradient) {
  const MicrobatchResult plain = Compute({0, 1}, 2), scaled = Compute({0, 1}, 2, 1024);
  EXPECT_TRUE(plain.losses.equal(scaled.losses));
  // A power of two changes no digit: only numbers below the smallest of the type, which plain
  // loses.
  const double off = (plain.gradients - scaled.gradients).abs().max().item<double>();
  const double largest = scaled.gradients.abs().max().item<double>();
  EXPECT_LE(off, GetParam().precision == Precision::kFloat16 ? 0.05 * largest : 1e-6 * largest);
  EXPECT_FALSE(scaled.overflowed);
}

// Differences of losses drown in bfloat16's rounding.
class Float32LossTest : public LossTest {};

TEST_P(Float32LossTest, Gradient_IsTheSlopeOfTheLoss) {
  const MicrobatchResult result = Compute({0, 1}, 2);
  const SampleInput sample = Sample(1);
  const MicrobatchInput input = MakeMicrobatch(*model_, std::span(&sample, 1), 1);
  const at::Tensor direction = Normal(400, {2 * model_->info().text_widths[0]});
  // At this step curvature costs 0.2 %; the loss is good to about 1e-7, so the quotient to 5e-5.
  const double h = 2e-3;
  const double up = ComputeLoss(*model_, input, rows_ + h * direction).item<double>();
  const double down = ComputeLoss(*model_, input, rows_ - h * direction).item<double>();
  const double slope = (result.gradients[1] * direction).sum().item<double>();
  EXPECT_NEAR((up - down) / (2 * h), slope, 0.01 * std::abs(slope) + 1e-4);
}

TEST_P(LossTest, NoisyLatents_FollowTheFormula) {
  const SampleInput sample = Sample(2);
  const MicrobatchInput input = MakeMicrobatch(*model_, std::span(&sample, 1), 1);
  std::vector<float> n0(4 * 16 * 16), epsilon(n0.size());
  FillNormal(sample.plan.posterior_noise, n0);
  FillNormal(sample.plan.diffusion_noise, epsilon);
  const double a = model_->AlphasCumprod()[500].item<double>();
  for (size_t i = 0; i < n0.size(); ++i) {
    const double mean = posteriors_[2].mean.data_ptr<float>()[i];
    const double deviation = posteriors_[2].deviation.data_ptr<float>()[i];
    const double z = (mean + deviation * n0[i]) * model_->info().scaling_factor;
    ASSERT_NEAR(input.noisy.data_ptr<float>()[i], std::sqrt(a) * z + std::sqrt(1 - a) * epsilon[i],
                1e-6);
    ASSERT_EQ(input.target.data_ptr<float>()[i], epsilon[i]);
  }
}

class Float16LossTest : public LossTest {};

TEST_P(Float16LossTest, ScaleThatIsTooHigh_Overflows_AndALowerOneIsNearTheTrueGradient) {
  EXPECT_TRUE(Compute({0, 1}, 2, 1e9f).overflowed);
  const MicrobatchResult scaled = Compute({0, 1}, 2, 4096);
  ASSERT_FALSE(scaled.overflowed);
  ASSERT_OK_AND_ASSIGN(model_,
                       diffusion::LoadModel(neolog::testing::SourcePath("configs/demo/model"), {}));
  const MicrobatchResult exact = Compute({0, 1}, 2);
  // fp16 has 11 digits; the way through the model makes them about seven.
  const double largest = exact.gradients.abs().max().item<double>();
  EXPECT_LE((scaled.gradients - exact.gradients).abs().max().item<double>(), 0.02 * largest);
}

constexpr Variant kMatmul{"matmul", AttentionKernel::kMatmul, Precision::kFloat32};
constexpr Variant kFlash{"flash", AttentionKernel::kFlash, Precision::kFloat32};
constexpr Variant kMatmulBf16{"matmul_bf16", AttentionKernel::kMatmul, Precision::kBFloat16};
constexpr Variant kMatmulFp16{"matmul_fp16", AttentionKernel::kMatmul, Precision::kFloat16};
constexpr Variant kFlashBf16{"flash_bf16", AttentionKernel::kFlash, Precision::kBFloat16};

const auto NameOf = [](const ::testing::TestParamInfo<Variant>& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Kernels, LossTest,
                         ::testing::Values(kMatmul, kFlash, kMatmulBf16, kFlashBf16, kMatmulFp16),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Kernels, Float16LossTest, ::testing::Values(kMatmulFp16), NameOf);
INSTANTIATE_TEST_SUITE_P(Kernels, Float32LossTest, ::testing::Values(kMatmul, kFlash), NameOf);

}  // namespace
}  // namespace neolog::train
