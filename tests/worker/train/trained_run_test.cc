#include "worker/train/trained_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "tests/support/status_matchers.h"

namespace neolog::train {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<uint32_t> kWidths = {3};

v1::RunSpec Spec() {
  v1::RunSpec spec;
  spec.set_name("zesko-run");
  spec.mutable_model()->set_precision("bf16");
  spec.add_word()->set_name("zesko");
  spec.mutable_word(0)->set_vectors(2);
  for (const char* name : {"a.png", "b.png"})
    spec.mutable_data()->add_samples()->set_file_name(name);
  v1::TrainingSpec* training = spec.mutable_training();
  training->set_steps(5);
  training->set_batch_size(2);
  training->set_gradient_accumulation(1);
  training->set_learning_rate("0.5:3, 0.25");
  training->set_beta1(0.9);
  training->set_beta2(0.999);
  training->set_epsilon(1e-8);
  return spec;
}

const std::vector<float> kFirstRows = {1, 2, 3, 4, 5, 6};

TrainedRun NewRun(const v1::RunSpec& spec = Spec()) {
  auto run = TrainedRun::Create(spec, kWidths, kFirstRows);
  EXPECT_OK(run);
  return *std::move(run);
}

std::pair<std::string, std::string> Describe(const PlannedSample& sample) {
  return {Spec().data().samples(static_cast<int>(sample.image)).file_name(), "a photo of zesko"};
}

// Losses 1 and 3, and gradients that differ from step to step.
TrainedRun::Outcome Step(TrainedRun& run) {
  std::vector<float> a, b;
  for (int i = 0; i < 6; ++i) {
    a.push_back(0.5f + static_cast<float>(i) + static_cast<float>(run.step()));
    b.push_back(-0.25f * static_cast<float>(i));
  }
  const std::vector<SampleResult> samples = {{1.0f, a}, {3.0f, b}};
  return run.TakeStep(samples, Describe);
}

TEST(TrainedRunTest, TakeStep_MovesRowsAgainstTheMeanGradient) {
  TrainedRun run = NewRun();
  const TrainedRun::Outcome outcome = Step(run);
  ASSERT_FALSE(outcome.failure.has_value());
  EXPECT_EQ(run.step(), 1u);
  EXPECT_EQ(outcome.record.step(), 1u);
  EXPECT_EQ(outcome.record.loss(), 2.0f);
  EXPECT_EQ(outcome.record.learning_rate(), 0.5f);
  EXPECT_EQ(outcome.record.state_hash(), run.state_hash());
  double squares = 0;
  for (int i = 0; i < 6; ++i) {
    const double g = (0.5 + i - 0.25 * i) / 2;
    squares += g * g;
    // Adam's first step is the learning rate times the sign of the gradient.
    EXPECT_NEAR(run.rows()[i], kFirstRows[i] - 0.5, 1e-6);
  }
  EXPECT_NEAR(outcome.record.gradient_norm(), std::sqrt(squares), 1e-6);
}

TEST(TrainedRunTest, SummedShares_AreTheStep_AndBadSumsAreRefused) {
  TrainedRun ordered = NewRun(), summed = NewRun();
  const std::vector<float> a = {0.5, 1, -2, 3, 0, 1}, b = {1, 1, 1, -4, 2, 0.25};
  const std::vector<SampleResult> samples = {{1.0f, a}, {3.0f, b}};
  const v1::StepRecord whole = ordered.TakeStep(samples, Describe).record;
  // Two members with a sample each, and one with none.
  std::vector<float> sum = summed.ShareOfStep({});
  for (const SampleResult& sample : samples) {
    const std::vector<float> share = summed.ShareOfStep({&sample, 1});
    ASSERT_EQ(share.size(), 2 + a.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += share[i];
  }
  const TrainedRun::Outcome outcome = summed.TakeSummedStep(sum);
  ASSERT_FALSE(outcome.failure.has_value());
  // Two terms: every order of adding gives the same bits.
  EXPECT_EQ(outcome.record.SerializeAsString(), whole.SerializeAsString());
  EXPECT_EQ(summed.SaveState(), ordered.SaveState());

  const std::string before = summed.SaveState();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [at, says] : {std::pair{size_t{0}, "the sum of the step's losses is nan"},
                                 {size_t{4}, "the sum of the step's gradients is nan"}}) {
    std::vector<float> bad = sum;
    bad[at] = nan;
    const TrainedRun::Outcome refused = summed.TakeSummedStep(bad);
    ASSERT_TRUE(refused.failure.has_value());
    EXPECT_THAT(refused.failure->message(), AllOf(HasSubstr(says), HasSubstr("step 2 of")));
    EXPECT_EQ(summed.SaveState(), before);
  }
}

TEST(TrainedRunTest, LearningRate_FollowsTheStepList) {
  TrainedRun run = NewRun();
  std::vector<float> rates;
  while (run.step() < run.total_steps()) rates.push_back(Step(run).record.learning_rate());
  EXPECT_EQ(rates, (std::vector<float>{0.5, 0.5, 0.5, 0.25, 0.25}));
}

TEST(TrainedRunTest, SavedState_GoesOnToTheSameBytes) {
  TrainedRun straight = NewRun();
  Step(straight);
  Step(straight);
  const std::string saved = straight.SaveState();
  EXPECT_EQ(straight.state_hash(), Hash64(saved));
  Step(straight);

  TrainedRun resumed = NewRun();
  ASSERT_OK(resumed.LoadState(saved));
  EXPECT_EQ(resumed.step(), 2u);
  EXPECT_EQ(resumed.state_hash(), Hash64(saved));
  Step(resumed);
  EXPECT_EQ(resumed.SaveState(), straight.SaveState());
}

TEST(TrainedRunTest, TwoEncoders_HaveABlockEachAndTheUpdatesOfOne) {
  TrainedRun one = NewRun();
  auto two = TrainedRun::Create(Spec(), {2, 1}, kFirstRows);
  ASSERT_OK(two);
  Step(one);
  Step(*two);
  EXPECT_TRUE(std::equal(one.rows().begin(), one.rows().end(), two->rows().begin()));
  v1::TrainState state;
  ASSERT_TRUE(state.ParseFromString(two->SaveState()));
  ASSERT_EQ(state.blocks_size(), 2);
  const std::string all(reinterpret_cast<const char*>(one.rows().data()), 24);
  EXPECT_EQ(state.blocks(0).rows(), all.substr(0, 16));
  EXPECT_EQ(state.blocks(1).rows(), all.substr(16));
  EXPECT_EQ(state.blocks(1).encoder(), 1u);

  auto resumed = TrainedRun::Create(Spec(), {2, 1}, kFirstRows);
  ASSERT_OK(resumed);
  ASSERT_OK(resumed->LoadState(two->SaveState()));
  EXPECT_EQ(resumed->SaveState(), two->SaveState());
  EXPECT_THAT(one.LoadState(two->SaveState()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("holds 2 blocks")));
  state.mutable_blocks()->SwapElements(0, 1);
  EXPECT_THAT(resumed->LoadState(state.SerializeAsString()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 and 1 floats")));
}

TEST(TrainedRunTest, BadNumbers_AreRefusedAndChangeNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const float big = std::numeric_limits<float>::max();
  const std::vector<float> good(6, 1.0f), bad = {0, 0, inf, 0, 0, 0}, huge(6, big);
  struct Case {
    std::vector<SampleResult> samples;
    const char* says;
    bool names_sample;
  };
  const std::vector<Case> cases = {
      {{{1, good}, {nan, good}}, "the loss is nan for picture", true},
      {{{1, good}, {1, bad}}, "a gradient is inf for picture", true},
      {{{1, huge}, {1, huge}}, "the update would make a row", false},
  };
  for (const Case& c : cases) {
    TrainedRun run = NewRun();
    Step(run);
    const std::string before = run.SaveState();
    const TrainedRun::Outcome outcome = run.TakeStep(c.samples, Describe);
    ASSERT_TRUE(outcome.failure.has_value()) << c.says;
    EXPECT_EQ(run.SaveState(), before);
    EXPECT_EQ(run.step(), 1u);
    EXPECT_EQ(outcome.failure->kind(), v1::RunFailure::KIND_NOT_FINITE);
    EXPECT_EQ(outcome.failure->step(), 2u);
    EXPECT_THAT(outcome.failure->message(),
                AllOf(HasSubstr("step 2 of 'zesko-run' was refused"), HasSubstr(c.says),
                      HasSubstr("learning rate 0.5"), HasSubstr("training.learning_rate"),
                      HasSubstr("model.precision to fp32 (it is bf16)")));
    if (c.names_sample) {
      EXPECT_THAT(outcome.failure->message(),
                  AllOf(HasSubstr(".png'"), HasSubstr("with the prompt 'a photo of zesko'")));
    }
  }
}

TEST(TrainedRunTest, UnusableSettings_AreRefused) {
  const auto refused = [](auto change, const char* says) {
    v1::RunSpec spec = Spec();
    change(spec);
    EXPECT_THAT(TrainedRun::Create(spec, kWidths, kFirstRows),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(says)));
  };
  refused([](v1::RunSpec& s) { s.add_word(); }, "has 2 words; expected exactly one");
  refused([](v1::RunSpec& s) { s.mutable_word(0)->set_vectors(3); },
          "expected word.vectors 3 times");
  refused([](v1::RunSpec& s) { s.mutable_training()->set_beta1(1); }, "training.beta1 is 1");
  refused([](v1::RunSpec& s) { s.mutable_training()->set_epsilon(-1); }, "training.epsilon is -1");
  refused([](v1::RunSpec& s) { s.mutable_training()->set_learning_rate("x"); },
          "learning_rate 'x'");
  std::vector<float> rows = kFirstRows;
  rows[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(TrainedRun::Create(Spec(), kWidths, rows),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not finite")));
}

TEST(TrainedRunTest, ForeignStates_AreRefusedAndChangeNothing) {
  TrainedRun run = NewRun();
  Step(run);
  const std::string before = run.SaveState();
  const auto refused = [&](auto change, const char* says) {
    v1::TrainState state;
    ASSERT_TRUE(state.ParseFromString(before));
    change(state);
    EXPECT_THAT(run.LoadState(state.SerializeAsString()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(says)));
    EXPECT_EQ(run.SaveState(), before);
  };
  refused([](v1::TrainState& s) { s.mutable_blocks(0)->set_word("other"); }, "'other'");
  refused([](v1::TrainState& s) { s.mutable_blocks(0)->set_width(4); }, "2 vectors of 4 floats");
  refused([](v1::TrainState& s) { s.clear_blocks(); }, "holds 0 blocks");
  refused([](v1::TrainState& s) { s.mutable_blocks(0)->mutable_exp_avg()->pop_back(); },
          "23 bytes");
  refused(
      [](v1::TrainState& s) {
        s.set_step(9);
        s.set_optimizer_step(9);
      },
      "after step 9");
  refused(
      [](v1::TrainState& s) {
        std::string rows(24, '\xff');  // NaNs
        s.mutable_blocks(0)->set_rows(rows);
      },
      "not finite");
  EXPECT_THAT(run.LoadState("\x07garbage"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not a TrainState")));
}

TEST(TrainedRunTest, LossScale_FollowsTheSteps_AndIsInTheState) {
  v1::RunSpec spec = Spec();
  spec.mutable_model()->set_precision("fp16");
  const auto create = [&] {
    auto run = TrainedRun::Create(spec, kWidths, kFirstRows, /*scales_loss=*/true);
    EXPECT_OK(run);
    return *std::move(run);
  };
  const std::vector<float> good(6, 1.0f);
  TrainedRun run = create();
  ASSERT_TRUE(run.loss_scale().has_value());
  EXPECT_EQ(run.loss_scale()->factor(), LossScale::kFirst);
  // A sample that needed three halvings lowers the next step's scale by one.
  const std::vector<SampleResult> overflowed = {{1, good}, {1, good, 3}},
                                  fine = {{1, good}, {1, good}};
  ASSERT_FALSE(run.TakeStep(overflowed, Describe).failure.has_value());
  EXPECT_EQ(run.loss_scale()->factor(), LossScale::kFirst / 2);
  ASSERT_FALSE(run.TakeStep(fine, Describe).failure.has_value());
  EXPECT_EQ(run.loss_scale()->steps(), 1u);

  TrainedRun resumed = create();
  ASSERT_OK(resumed.LoadState(run.SaveState()));
  EXPECT_EQ(resumed.loss_scale()->factor(), LossScale::kFirst / 2);
  EXPECT_EQ(resumed.loss_scale()->steps(), 1u);
  EXPECT_EQ(resumed.SaveState(), run.SaveState());

  v1::TrainState state;
  ASSERT_TRUE(state.ParseFromString(run.SaveState()));
  state.set_loss_scale(3);
  EXPECT_THAT(resumed.LoadState(state.SerializeAsString()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("loss scale 3 for 1 steps")));
  EXPECT_THAT(NewRun().LoadState(run.SaveState()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not train in fp16")));
  EXPECT_FALSE(NewRun().loss_scale().has_value());
}

TEST(TrainedRunTest, GradientThatOverflowsAtEveryScale_IsRefused_NamingTheLast) {
  auto run = TrainedRun::Create(Spec(), kWidths, kFirstRows, /*scales_loss=*/true);
  ASSERT_OK(run);
  const std::string before = run->SaveState();
  const std::vector<float> good(6, 1.0f), bad(6, std::numeric_limits<float>::infinity());
  const std::vector<SampleResult> samples = {{1, good}, {1, bad, LossScale::kMostHalvings}};
  const TrainedRun::Outcome outcome = run->TakeStep(samples, Describe);
  ASSERT_TRUE(outcome.failure.has_value());
  EXPECT_THAT(outcome.failure->message(),
              AllOf(HasSubstr("a gradient is inf for picture"),
                    HasSubstr("even with the loss scaled by only 0.0625")));
  EXPECT_EQ(run->SaveState(), before);
}

TEST(InitialTokenOfTest, FollowsA1111) {
  EXPECT_EQ(InitialTokenOf(4, 2), (std::vector<uint32_t>{0, 0, 1, 1}));
  EXPECT_EQ(InitialTokenOf(2, 5), (std::vector<uint32_t>{0, 2}));
  EXPECT_EQ(InitialTokenOf(3, 1), (std::vector<uint32_t>{0, 0, 0}));
}

}  // namespace
}  // namespace neolog::train
