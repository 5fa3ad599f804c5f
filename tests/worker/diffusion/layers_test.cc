#include "worker/diffusion/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "worker/torch_support/gradient.h"

namespace neolog::diffusion {
namespace {

using ::neolog::testing::Normal;
using torch_support::WeightMap;

constexpr c10::DeviceType kCpu = c10::DeviceType::CPU;

double MaxError(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

struct AttentionCase {
  const char* name;
  int64_t positions, context, heads, width;
  bool causal;
};
class AttentionKernels : public ::testing::TestWithParam<AttentionCase> {};

// Both kernels are the same function, and the same derivative.
TEST_P(AttentionKernels, MatmulAndFlash_Agree) {
  const AttentionCase& p = GetParam();
  const at::Tensor out_gradient = Normal({2, p.positions, p.heads * p.width}, 9);
  std::vector<at::Tensor> results;
  for (const AttentionKernel kernel : {AttentionKernel::kMatmul, AttentionKernel::kFlash}) {
    const at::Tensor q = Normal({2, p.positions, p.heads * p.width}, 1).set_requires_grad(true);
    const at::Tensor k = Normal({2, p.context, p.heads * p.width}, 2);
    const at::Tensor v = Normal({2, p.context, p.heads * p.width}, 3);
    const at::Tensor out = Attention(q, k, v, p.heads, kernel, p.causal);
    results.push_back(out.detach());
    results.push_back(torch_support::GradientOf((out * out_gradient).sum(), q));
  }
  // Float sums over some thousand terms in another order.
  EXPECT_LT(MaxError(results[0], results[2]), 1e-5);
  EXPECT_LT(MaxError(results[1], results[3]), 1e-4);
}
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionKernels,
                         ::testing::Values(AttentionCase{"small", 9, 9, 2, 8, false},
                                           AttentionCase{"causal", 9, 9, 2, 8, true},
                                           AttentionCase{"cross", 64, 7, 2, 8, false},
                                           AttentionCase{"fused", 1600, 1600, 2, 8, false}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Attention, Causal_IgnoresWhatComesLater) {
  const at::Tensor q = Normal({1, 6, 8}, 1);
  at::Tensor k = Normal({1, 6, 8}, 2), v = Normal({1, 6, 8}, 3);
  const at::Tensor before = Attention(q, k, v, 2, AttentionKernel::kMatmul, true);
  k.narrow(1, 4, 2).zero_();
  v.narrow(1, 4, 2).zero_();
  const at::Tensor after = Attention(q, k, v, 2, AttentionKernel::kMatmul, true);
  EXPECT_EQ(MaxError(before.narrow(1, 0, 4), after.narrow(1, 0, 4)), 0);
  EXPECT_GT(MaxError(before.narrow(1, 4, 2), after.narrow(1, 4, 2)), 0);
}

// A large common offset: statistics kept in bf16 (8 bits of mantissa) would be wrong by far more
// than one rounding.
TEST(Norms, Bfloat16Input_CountsInFloat32) {
  const at::Tensor x = (Normal({1, 8, 64, 64}, 1) + 20).to(at::kBFloat16);
  const auto weights = WeightMap::Of({{"weight", at::ones({8})}, {"bias", at::zeros({8})}}, "ones");
  const WeightReader reader(*weights, at::kBFloat16, kCpu);
  const at::Tensor got = GroupNorm(reader, 2, 8, 1e-5).forward(x);
  EXPECT_EQ(got.scalar_type(), at::kBFloat16);
  const at::Tensor expected = at::group_norm(x.to(at::kDouble), 2);
  EXPECT_LT(MaxError(got, expected), 0.02);  // half a unit in the last place of values up to 5

  const at::Tensor rows = (Normal({64, 8}, 2) + 20).to(at::kBFloat16);
  const at::Tensor normed = LayerNorm(reader, 8, 1e-5).forward(rows);
  EXPECT_EQ(normed.scalar_type(), at::kBFloat16);
  EXPECT_LT(MaxError(normed, at::layer_norm(rows.to(at::kDouble), {8})), 0.02);
}

}  // namespace
}  // namespace neolog::diffusion
