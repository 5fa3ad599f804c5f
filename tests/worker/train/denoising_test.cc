#include "worker/train/denoising.h"

#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>

#include <memory>
#include <vector>

#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"
#include "worker/torch_support/runtime.h"

namespace neolog::train {
namespace {

// A graph on a CPU: what was recorded is run again, from the same tensors. A value that is not in
// one of them would stay what it was when it was recorded.
class FakeGraph : public torch_support::Graph {
 public:
  explicit FakeGraph(int* captures) : captures_(captures) {}
  void Capture(const std::function<void()>& work) override {
    ++*captures_;
    work_ = work;
    work();
  }
  void Replay() override { work_(); }

 private:
  int* const captures_;
  std::function<void()> work_;
};

class GraphedDenoisingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(torch_support::SetUpRuntime({.threads = 1}));
    ASSERT_OK_AND_ASSIGN(
        model_, diffusion::LoadModel(neolog::testing::SourcePath("configs/demo/model"), {}));
    graphed_ = std::make_unique<GraphedDenoising>(
        model_.get(), [this] { return std::make_unique<FakeGraph>(&captures_); });
  }

  DenoisingInput Input(int64_t samples, int64_t chunks, float weight) const {
    const auto& info = model_->info();
    const std::vector<int64_t> latents = {samples, info.latent_channels, 16, 16};
    return {
        .text = {at::randn({samples, chunks * info.text_positions, info.text_widths[0]}), {}, {}},
        .noisy = at::randn(latents),
        .target = at::randn(latents),
        .timesteps = at::randint(0, 1000, {samples}, at::kLong),
        .weights = at::full({samples}, weight)};
  }

  void ExpectTheSame(const DenoisingInput& input) {
    const DenoisingResult expected = Denoise(*model_, input), got = graphed_->Run(input);
    EXPECT_TRUE(got.losses.equal(expected.losses));
    EXPECT_TRUE(got.hidden_gradient.equal(expected.hidden_gradient));
    EXPECT_EQ(got.pooled_gradient.defined(), expected.pooled_gradient.defined());
  }

  std::unique_ptr<diffusion::Model> model_;
  std::unique_ptr<GraphedDenoising> graphed_;
  int captures_ = 0;
};

TEST_F(GraphedDenoisingTest, EveryInput_GivesTheBitsOfDenoise_FromOneRecordingAShape) {
  for (const float weight : {1.0f, 65536.0f, 0.5f}) ExpectTheSame(Input(2, 1, weight));
  EXPECT_EQ(captures_, 1);
  ExpectTheSame(Input(1, 1, 1));
  ExpectTheSame(Input(2, 2, 1));
  EXPECT_EQ(captures_, 3);
  ExpectTheSame(Input(2, 1, 2));
  EXPECT_EQ(captures_, 3);
}

TEST_F(GraphedDenoisingTest, NoGradientReachesTheCallersTensors) {
  DenoisingInput input = Input(1, 1, 1);
  input.text.hidden.requires_grad_(true);
  graphed_->Run(input);
  EXPECT_FALSE(input.text.hidden.grad().defined());
}

TEST(CudaGraphsTest, OnACpu_AreRefused) {
  EXPECT_THAT(torch_support::CudaGraphs(c10::Device(c10::DeviceType::CPU)),
              neolog::testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                        ::testing::HasSubstr("need a GPU")));
}

}  // namespace
}  // namespace neolog::train
