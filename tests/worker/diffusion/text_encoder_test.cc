// Prompts in chunks, and weighed.

#include "worker/diffusion/text_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "worker/torch_support/gradient.h"
#include "worker/torch_support/runtime.h"

namespace neolog::diffusion {
namespace {

using ::neolog::testing::Normal;
using torch_support::GradientOf;
using torch_support::WeightMap;

constexpr int64_t kChunk = 9;  // positions
constexpr int64_t kEnd = 19;

struct Kind {
  const char* name;
  HiddenStates hidden;
  int64_t projection;
};

class TextEncoderTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    ASSERT_OK(torch_support::SetUpRuntime({.threads = 1}));
    ClipConfig config = neolog::testing::SmallClipConfig();
    config.max_position_embeddings = kChunk;
    config.projection_dim = GetParam().projection;
    weights_ = WeightMap::Of(neolog::testing::SeededTextEncoder(config, 7), "text_encoder");
    encoder_ = std::make_unique<ClipTextEncoder>(
        WeightReader(*weights_, at::kFloat, c10::DeviceType::CPU), config, GetParam().hidden);
    width_ = config.hidden_size;
  }

  // Two prompts of three chunks. Row 0 stands in every chunk of the first, row 1 in the second's
  // last.
  TextInput Input() const {
    const auto row = [](std::initializer_list<int64_t> values) {
      return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
    };
    TextInput input;
    input.input_ids = at::stack({row({18, 3, 0, 1,  7,  2, 19, 19, 19, 18, 0,  5,  4, 3,
                                      2,  1, 8, 19, 18, 0, 6,  19, 19, 19, 19, 19, 19}),
                                 row({18, 4,  4,  19, 19, 19, 19, 19, 19, 18, 19, 19, 19, 19,
                                      19, 19, 19, 19, 18, 9,  0,  8,  7,  6,  5,  4,  19})});
    input.slots = at::full_like(input.input_ids, -1);
    for (const int64_t place : {2, 10, 19}) input.slots[0][place] = 0;
    input.slots[1][20] = 1;
    input.rows = Normal({2, width_}, 3) * 0.4;
    return input;
  }
  static TextInput Chunk(const TextInput& input, int64_t chunk) {
    const auto part = [&](const at::Tensor& x) {
      return x.defined() ? x.narrow(1, chunk * kChunk, kChunk).contiguous() : x;
    };
    return {part(input.input_ids), part(input.slots), input.rows, part(input.weights)};
  }

  std::unique_ptr<WeightMap> weights_;
  std::unique_ptr<ClipTextEncoder> encoder_;
  int64_t width_ = 0;
};

TEST_P(TextEncoderTest, Chunks_AreTheSingleChunksSideBySide_BitForBit) {
  const TextInput input = Input();
  const TextFeatures all = encoder_->forward(input, kEnd);
  std::vector<at::Tensor> hidden;
  for (int64_t chunk = 0; chunk < 3; ++chunk)
    hidden.push_back(encoder_->forward(Chunk(input, chunk), kEnd).hidden);
  EXPECT_TRUE(at::equal(all.hidden, at::cat(hidden, 1)));
  EXPECT_EQ(all.hidden.sizes(), (std::vector<int64_t>{2, 3 * kChunk, width_}));
  const at::Tensor pooled = encoder_->forward(Chunk(input, 0), kEnd).pooled;
  ASSERT_EQ(all.pooled.defined(), GetParam().projection != 0);
  if (pooled.defined()) {
    EXPECT_TRUE(at::equal(all.pooled, pooled));
  }
}

TEST_P(TextEncoderTest, Gradient_ReachesTheRowsInEveryChunk) {
  const TextInput input = Input();
  at::Tensor sum = at::zeros_like(input.rows);
  const at::Tensor probe = Normal({2, 3 * kChunk, width_}, 5);
  for (int64_t chunk = 0; chunk < 3; ++chunk) {
    TextInput one = Chunk(input, chunk);
    one.rows = input.rows.clone().set_requires_grad(true);
    const at::Tensor gradient = GradientOf(
        (encoder_->forward(one, kEnd).hidden * probe.narrow(1, chunk * kChunk, kChunk)).sum(),
        one.rows);
    EXPECT_GT(gradient[0].abs().max().item<float>(), 1e-3) << chunk;
    sum = sum + gradient;
  }
  TextInput all = input;
  all.rows = input.rows.clone().set_requires_grad(true);
  const at::Tensor gradient =
      GradientOf((encoder_->forward(all, kEnd).hidden * probe).sum(), all.rows);
  // The same sums in another order.
  EXPECT_LT((gradient - sum).abs().max().item<float>(), 1e-5 * sum.abs().max().item<float>());
}

TEST_P(TextEncoderTest, CopiesOfTheRows_GoToTheirOwnSample) {
  TextInput input = Input();
  const at::Tensor shared = encoder_->forward(input, kEnd).hidden;
  const at::Tensor other = Normal({2, width_}, 4);
  const at::Tensor rows = input.rows;
  input.rows = at::stack({rows, other});
  const at::Tensor mixed = encoder_->forward(input, kEnd).hidden;
  EXPECT_TRUE(at::equal(mixed[0], shared[0]));
  EXPECT_FALSE(at::equal(mixed[1], shared[1]));
  input.rows = other;
  EXPECT_TRUE(at::equal(mixed[1], encoder_->forward(input, kEnd).hidden[1]));

  input.rows = at::stack({rows, other}).set_requires_grad(true);
  const at::Tensor gradient =
      GradientOf(encoder_->forward(input, kEnd).hidden[0].square().sum(), input.rows);
  EXPECT_TRUE(gradient[0][0].ne(0).any().item<bool>());
  EXPECT_FALSE(gradient[1].ne(0).any().item<bool>());
}

TEST_P(TextEncoderTest, Weights_MultiplyAndKeepTheMeanOfEachChunk) {
  TextInput input = Input();
  const TextFeatures plain = encoder_->forward(input, kEnd);
  input.weights = at::ones({2, 3 * kChunk});
  EXPECT_TRUE(at::equal(encoder_->forward(input, kEnd).hidden, plain.hidden))
      << "weights of 1 change no bit";
  input.weights[0].narrow(0, 10, 3).fill_(1.5);  // in the first prompt's second chunk
  input.weights[1][20] = 0.25;                   // the row in the second prompt's third
  const TextFeatures weighed = encoder_->forward(input, kEnd);
  const auto chunk = [](const at::Tensor& hidden, int64_t prompt, int64_t number) {
    return hidden[prompt].narrow(0, number * kChunk, kChunk);
  };
  for (int64_t prompt = 0; prompt < 2; ++prompt) {
    for (int64_t number = 0; number < 3; ++number) {
      const at::Tensor before = chunk(plain.hidden, prompt, number),
                       after = chunk(weighed.hidden, prompt, number);
      const bool touched = number == (prompt == 0 ? 1 : 2);
      EXPECT_EQ(at::equal(before, after), !touched) << prompt << ", " << number;
      if (!touched) continue;
      // The formula in double: float rounds to 1e-7 of the largest, means of some 100 terms to
      // 1e-5.
      const at::Tensor wide = before.to(at::kDouble);
      const at::Tensor product =
          wide *
          input.weights[prompt].narrow(0, number * kChunk, kChunk).to(at::kDouble).unsqueeze(-1);
      const at::Tensor expected = product * (wide.mean() / product.mean());
      const double largest = expected.abs().max().item<double>();
      EXPECT_LT((after.to(at::kDouble) - expected).abs().max().item<double>(), 1e-4 * largest);
      EXPECT_NEAR(after.mean().item<double>(), wide.mean().item<double>(), 1e-5);
    }
  }
  if (plain.pooled.defined()) {
    EXPECT_TRUE(at::equal(weighed.pooled, plain.pooled));
  }
}

TEST_P(TextEncoderTest, OddLengths_AreRefused) {
  TextInput input = Input();
  input.input_ids = input.input_ids.narrow(1, 0, kChunk + 1);
  input.slots = input.slots.narrow(1, 0, kChunk + 1);
  EXPECT_THROW(encoder_->forward(input, kEnd), c10::Error);
  input = Input();
  input.weights = at::ones({2, kChunk});
  EXPECT_THROW(encoder_->forward(input, kEnd), c10::Error);
}

INSTANTIATE_TEST_SUITE_P(Kinds, TextEncoderTest,
                         ::testing::Values(Kind{"sd1", HiddenStates::kFinal, 0},
                                           Kind{"sdxl_first", HiddenStates::kPenultimate, 0},
                                           Kind{"sdxl_second", HiddenStates::kPenultimate, 12}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace neolog::diffusion
