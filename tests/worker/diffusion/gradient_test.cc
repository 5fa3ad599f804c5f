// The whole way from rows to loss and back, in double precision against differences, and what must
// hold for its bits.

#include "worker/torch_support/gradient.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "worker/diffusion/text_encoder.h"
#include "worker/diffusion/unet.h"
#include "worker/torch_support/runtime.h"

namespace neolog::diffusion {
namespace {

using ::neolog::testing::Normal;
using torch_support::GradientOf;
using torch_support::WeightMap;

constexpr uint64_t kSeed = 7;
constexpr c10::DeviceType kCpu = c10::DeviceType::CPU;

// A small text encoder and UNet with random weights, in one type.
struct SmallModel {
  SmallModel(at::ScalarType text_type, at::ScalarType unet_type, AttentionKernel kernel,
             ClipConfig clip = testing::SmallClipConfig(),
             UNetConfig unet_config = testing::SmallUNetConfig())
      : clip_weights(WeightMap::Of(testing::SeededTextEncoder(clip, kSeed), "text_encoder")),
        unet_weights(WeightMap::Of(testing::SeededUNet(unet_config, kSeed), "unet")),
        text_encoder(WeightReader(*clip_weights, text_type, kCpu), clip, HiddenStates::kFinal),
        unet(WeightReader(*unet_weights, unet_type, kCpu), unet_config, kernel),
        type(unet_type) {
    EXPECT_OK(clip_weights->Finish({}));
    EXPECT_OK(unet_weights->Finish({}));
  }

  at::Tensor Loss(const at::Tensor& ids, const at::Tensor& slots, const at::Tensor& rows,
                  const at::Tensor& latents, const at::Tensor& timesteps,
                  const at::Tensor& target) const {
    const Conditioning text{.hidden = Text(ids, slots, rows).to(type)};
    const at::Tensor out = unet.forward(latents.to(type), timesteps, text);
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    return (out.to(wide) - target.to(wide)).square().mean({1, 2, 3});
  }

  at::Tensor Text(const at::Tensor& ids, const at::Tensor& slots, const at::Tensor& rows) const {
    return text_encoder.forward({ids, slots, rows}, 0).hidden;
  }

  std::unique_ptr<WeightMap> clip_weights, unet_weights;
  ClipTextEncoder text_encoder;
  UNet unet;
  at::ScalarType type;
};

at::Tensor Int64(std::initializer_list<int64_t> values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

// Ids and slots of one prompt of nine positions: row 0 twice, row 1 at the end.
at::Tensor Ids() { return Int64({18, 3, 5, 1, 7, 2, 19, 19, 19}); }
at::Tensor Slots() { return Int64({-1, -1, 0, 1, -1, 0, -1, -1, 1}); }

struct Variant {
  const char* name;
  AttentionKernel kernel;
  bool linear_projection;
  Activation activation;
  int64_t height, width;
};
class Gradient : public ::testing::TestWithParam<Variant> {};

// Central differences in double: truncation and rounding together stay far below 1e-6 of the
// largest derivative.
TEST_P(Gradient, Rows_EqualFiniteDifferences) {
  const Variant& p = GetParam();
  ClipConfig clip = testing::SmallClipConfig();
  clip.hidden_act = p.activation;
  UNetConfig config = testing::SmallUNetConfig();
  config.use_linear_projection = p.linear_projection;
  const SmallModel model(at::kDouble, at::kDouble, p.kernel, clip, config);
  const at::Tensor latents = Normal({1, 4, p.height, p.width}, 1),
                   target = Normal({1, 4, p.height, p.width}, 2);
  const auto loss = [&](const at::Tensor& rows) {
    return model.Loss(Ids().unsqueeze(0), Slots().unsqueeze(0), rows, latents, Int64({437}), target)
        .sum();
  };
  const at::Tensor rows = Normal({2, 16}, 3).to(at::kDouble).mul(0.4).set_requires_grad(true);
  const at::Tensor gradient = GradientOf(loss(rows), rows);
  ASSERT_EQ(gradient.sizes(), rows.sizes());
  const double largest = gradient.abs().max().item<double>();
  ASSERT_GT(largest, 1e-6);
  constexpr double kStep = 1e-5;
  for (const int64_t r : {0, 1}) {
    for (int64_t d = 0; d < 16; d += 3) {
      const auto at_offset = [&](double offset) {
        at::Tensor moved = rows.detach().clone();
        moved[r][d] += offset;
        return loss(moved).item<double>();
      };
      const double difference = (at_offset(kStep) - at_offset(-kStep)) / (2 * kStep);
      EXPECT_NEAR(gradient[r][d].item<double>(), difference, 1e-6 * largest) << r << "," << d;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(
    Variants, Gradient,
    ::testing::Values(
        Variant{"matmul", AttentionKernel::kMatmul, false, Activation::kQuickGelu, 8, 8},
        Variant{"flash", AttentionKernel::kFlash, false, Activation::kQuickGelu, 8, 8},
        Variant{"linear_projection_and_gelu", AttentionKernel::kMatmul, true, Activation::kGelu, 8,
                8},
        Variant{"odd_sizes", AttentionKernel::kMatmul, false, Activation::kQuickGelu, 7, 10}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Splicing, RowOfTheTable_IsTheOrdinaryToken) {
  const SmallModel model(at::kFloat, at::kFloat, AttentionKernel::kMatmul);
  const at::Tensor ids = Ids().unsqueeze(0), none = at::full_like(ids, -1);
  const at::Tensor plain = model.Text(ids, none, at::zeros({0, 16}));
  // Positions 2 and 5 become rows that hold what the table has there; the ids below them mean
  // nothing any more.
  const at::Tensor rows = model.text_encoder.Embed(Int64({5, 2}));
  at::Tensor slots = none.clone(), other = ids.clone();
  slots[0][2] = 0;
  slots[0][5] = 1;
  other[0][2] = 987654321;
  other[0][5] = -77;
  EXPECT_TRUE(model.Text(other, slots, rows).equal(plain));
}

TEST(Splicing, CopyPerSample_IsTheSameNumbers) {
  const SmallModel model(at::kFloat, at::kFloat, AttentionKernel::kMatmul);
  const at::Tensor ids = at::stack({Ids(), Ids()}), slots = at::stack({Slots(), Slots()});
  const at::Tensor rows = Normal({2, 16}, 3);
  const at::Tensor shared = model.Text(ids, slots, rows);
  EXPECT_TRUE(model.Text(ids, slots, at::stack({rows, rows})).equal(shared));
  const at::Tensor different = model.Text(ids, slots, at::stack({rows, Normal({2, 16}, 4)}));
  EXPECT_TRUE(different[0].equal(shared[0]));
  EXPECT_FALSE(different[1].equal(shared[1]));
}

TEST(Splicing, OnlyRows_RequireAGradient) {
  const SmallModel model(at::kFloat, at::kFloat, AttentionKernel::kMatmul);
  const auto loss = [&](const at::Tensor& rows) {
    return model.Loss(Ids().unsqueeze(0), Slots().unsqueeze(0), rows, Normal({1, 4, 8, 8}, 1),
                      Int64({3}), Normal({1, 4, 8, 8}, 2));
  };
  EXPECT_FALSE(loss(Normal({2, 16}, 3)).requires_grad());
  EXPECT_TRUE(loss(Normal({2, 16}, 3).set_requires_grad(true)).requires_grad());
}

struct BitsCase {
  const char* name;
  at::ScalarType type;
  int threads;
};
class SampleBits : public ::testing::TestWithParam<BitsCase> {};

// At a fixed microbatch shape a sample's gradient and loss are the same bits in every slot and
// beside any neighbours: what makes a result independent of how a step is cut up among workers.
TEST_P(SampleBits, DoNotDependOnSlotOrNeighbours) {
  ASSERT_OK(torch_support::SetUpRuntime({.threads = GetParam().threads}));
  const SmallModel model(at::kFloat, GetParam().type, AttentionKernel::kFlash);
  constexpr int64_t kBatch = 4;
  struct Sample {
    at::Tensor ids, slots, rows, latents, timestep, target;
  };
  const auto sample = [](uint64_t seed) {
    return Sample{Ids().roll(static_cast<int64_t>(seed % 3)),
                  Slots(),
                  Normal({2, 16}, seed),
                  Normal({4, 16, 16}, seed + 50),
                  Int64({static_cast<int64_t>(seed * 37 % 1000)}),
                  Normal({4, 16, 16}, seed + 90)};
  };
  const auto run = [&](const std::vector<Sample>& batch, size_t which) {
    std::vector<at::Tensor> ids, slots, rows, latents, timesteps, targets;
    for (const Sample& s : batch) {
      ids.push_back(s.ids);
      slots.push_back(s.slots);
      rows.push_back(s.rows);
      latents.push_back(s.latents);
      timesteps.push_back(s.timestep);
      targets.push_back(s.target);
    }
    const at::Tensor leaf = at::stack(rows).set_requires_grad(true);
    const at::Tensor losses = model.Loss(at::stack(ids), at::stack(slots), leaf, at::stack(latents),
                                         at::cat(timesteps), at::stack(targets));
    return std::pair(losses[which].detach(), GradientOf(losses.sum(), leaf)[which].clone());
  };
  const Sample mine = sample(1);
  const auto [loss, gradient] = run({mine, sample(2), sample(3), sample(4)}, 0);
  ASSERT_GT(gradient.abs().max().item<float>(), 0);
  for (size_t slot = 0; slot < kBatch; ++slot) {
    std::vector<Sample> batch;
    for (size_t i = 0; i < kBatch; ++i)
      batch.push_back(i == slot ? mine : sample(10 + slot * kBatch + i));
    const auto [other_loss, other_gradient] = run(batch, slot);
    EXPECT_TRUE(other_loss.equal(loss)) << "slot " << slot;
    EXPECT_TRUE(other_gradient.equal(gradient)) << "slot " << slot;
  }
  ASSERT_OK(torch_support::SetUpRuntime({.threads = 1}));
}
INSTANTIATE_TEST_SUITE_P(Types, SampleBits,
                         ::testing::Values(BitsCase{"fp32", at::kFloat, 1},
                                           BitsCase{"fp32_two_threads", at::kFloat, 2},
                                           BitsCase{"bf16", at::kBFloat16, 1}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace neolog::diffusion
