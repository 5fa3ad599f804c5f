#include "common/plan/lr_schedule.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::testing::HasSubstr;

struct GoodList {
  const char* name;
  const char* text;
  uint64_t max_steps;
  std::vector<RatePiece> pieces;
};
std::ostream& operator<<(std::ostream& out, const GoodList& list) { return out << list.name; }

class ParseStepListTest : public ::testing::TestWithParam<GoodList> {};

TEST_P(ParseStepListTest, Good_GivesItsPieces) {
  EXPECT_THAT(ParseStepList(GetParam().text, GetParam().max_steps), testing::IsOk());
  ASSERT_OK_AND_ASSIGN(const auto pieces, ParseStepList(GetParam().text, GetParam().max_steps));
  EXPECT_EQ(pieces, GetParam().pieces);
}

INSTANTIATE_TEST_SUITE_P(
    Lists, ParseStepListTest,
    ::testing::Values(
        GoodList{"one_rate", "0.005", 3000, {{.005, 3000}}},
        GoodList{"three_items",
                 "0.005:100, 1e-3:1000, 1e-5",
                 2000,
                 {{.005, 100}, {1e-3, 1000}, {1e-5, 2000}}},
        GoodList{"ends_early", "0.005:100, 1e-3:1000", 2000, {{.005, 100}, {1e-3, 1000}}},
        GoodList{"minus_one", "0.005:100, 1e-3:-1, 7", 2000, {{.005, 100}, {1e-3, 2000}}},
        GoodList{"bare_ends_parsing", "0.005, nonsense", 2000, {{.005, 2000}}},
        GoodList{"above_maximum_ends_parsing", "0.005:5000, nonsense", 2000, {{.005, 2000}}},
        GoodList{"at_maximum_goes_on", "0.005:2000, 1e-3", 2000, {{.005, 2000}}},
        GoodList{"blank_items", " , 0.1:5 ,,\t0.2 , ", 10, {{.1, 5}, {.2, 10}}},
        GoodList{"spaces", " 0.1 : 5 ,\n 0.2 : 8 ", 10, {{.1, 5}, {.2, 8}}},
        GoodList{"python_floats",
                 ".5:1, 5.:2, +1E-3:3, 1_0.2_5:4, 007:+5, 0",
                 10,
                 {{.5, 1}, {5, 2}, {1e-3, 3}, {10.25, 4}, {7, 5}, {0, 10}}},
        GoodList{"python_int_underscore", "0.1:1_0", 100, {{.1, 10}}},
        GoodList{"huge_step", "0.1:99999999999999999999", 10, {{.1, 10}}},
        GoodList{"tiny_rate", "1e-999", 10, {{0, 10}}},
        GoodList{"zero_step_left_out", "0.5:0, 0.1:-7, 0.2", 10, {{.2, 10}}},
        GoodList{
            "backwards_holds_one_step", "0.1:5, 0.2:3, 0.3", 10, {{.1, 5}, {.2, 6}, {.3, 10}}}),
    [](const auto& info) { return info.param.name; });

struct BadList {
  const char* name;
  const char* text;
  std::vector<const char*> says;
};
std::ostream& operator<<(std::ostream& out, const BadList& list) { return out << list.name; }

class BadStepListTest : public ::testing::TestWithParam<BadList> {};

TEST_P(BadStepListTest, Bad_NamesItemPlaceAndForm) {
  const absl::Status status = ParseStepList(GetParam().text, 1000).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : GetParam().says) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  EXPECT_THAT(std::string(status.message()), HasSubstr("rate:step"));
}

INSTANTIATE_TEST_SUITE_P(
    Lists, BadStepListTest,
    ::testing::Values(
        BadList{"empty", "", {"names no rate"}}, BadList{"only_blank", " , ", {"names no rate"}},
        BadList{"only_passed", "0.1:0", {"names no rate"}},
        BadList{"word", "0.1:5, fast", {"item 2 ('fast', column 8)", "'fast' is not a number"}},
        BadList{"comma_decimal_step", "0.1:5.0", {"item 1", "'5.0' is not a whole number"}},
        BadList{"no_step", "0.1:", {"item 1", "'' is not a whole number"}},
        BadList{"no_rate", ":5", {"item 1", "'' is not a number"}},
        BadList{"two_colons", "0.1:5:7", {"'5:7' is not a whole number"}},
        BadList{"negative", "-0.1", {"finite number of 0 or above"}},
        BadList{"nan", "nan", {"finite number of 0 or above"}},
        BadList{"inf", "inf:3", {"finite number of 0 or above"}},
        BadList{"overflow", "1e999", {"finite number of 0 or above"}},
        BadList{"hex", "0x1p-3", {"is not a number"}},
        BadList{"double_sign", "+-1", {"is not a number"}},
        BadList{"stray_underscore", "1_", {"is not a number"}},
        BadList{"percent", "0.1:50%", {"'50%' is not a whole number"}}),
    [](const auto& info) { return info.param.name; });

TEST(ParseStepListPropertyTest, WrittenLists_ReadBack) {
  EXPECT_TRUE(rc::check([] {
    const auto increments =
        *rc::gen::container<std::vector<uint32_t>>(rc::gen::inRange<uint32_t>(1, 500));
    RC_PRE(!increments.empty());
    std::vector<RatePiece> pieces;
    std::string text;
    uint64_t until = 0;
    for (size_t i = 0; i < increments.size(); ++i) {
      until += increments[i];
      const double rate = *rc::gen::inRange<int>(0, 1000000) * 1e-7;
      pieces.push_back({rate, until});
      text += fmt::format("{}{}:{}", i == 0 ? "" : ", ", rate, until);
    }
    const auto read = ParseStepList(text, until);
    RC_ASSERT(read.ok());
    RC_ASSERT(*read == pieces);
    for (uint64_t step = 0; step < until; step += 7) {
      const double rate = RateAt(*read, step);
      RC_ASSERT(std::any_of(pieces.begin(), pieces.end(),
                            [&](const RatePiece& p) { return p.rate == rate; }));
    }
  }));
}

TEST(ParseStepListPropertyTest, AnyText_IsReadOrRefused) {
  EXPECT_TRUE(rc::check([] {
    const auto text = *rc::gen::container<std::string>(
        rc::gen::elementOf(std::string("0123456789.:,-+eE_ naif\t")));
    const auto read = ParseStepList(text, 100);
    if (!read.ok()) return;
    RC_ASSERT(!read->empty());
    uint64_t before = 0;
    for (const RatePiece& piece : *read) {
      RC_ASSERT(piece.until > before);
      RC_ASSERT(piece.until <= 100u);
      RC_ASSERT(std::isfinite(piece.rate) && piece.rate >= 0);
      before = piece.until;
    }
  }));
}

v1::TrainingSpec Training(std::string rate, std::string schedule, uint32_t steps, uint32_t warmup,
                          double final_factor) {
  v1::TrainingSpec training;
  training.set_learning_rate(std::move(rate));
  training.set_schedule(std::move(schedule));
  training.set_steps(steps);
  training.set_warmup_steps(warmup);
  training.set_final_factor(final_factor);
  return training;
}

TEST(LrScheduleTest, StepList_HoldsEachRateUntilItsStep) {
  ASSERT_OK_AND_ASSIGN(
      const LrSchedule lr,
      LrSchedule::Create(Training("0.005:100, 1e-3:1000, 1e-5", "constant", 2000, 0, 0)));
  EXPECT_EQ(lr.total_steps(), 2000u);
  EXPECT_EQ(lr.At(0), 0.005);
  EXPECT_EQ(lr.At(99), 0.005);
  EXPECT_EQ(lr.At(100), 1e-3);
  EXPECT_EQ(lr.At(999), 1e-3);
  EXPECT_EQ(lr.At(1000), 1e-5);
  EXPECT_EQ(lr.At(1999), 1e-5);
}

TEST(LrScheduleTest, ExhaustedList_EndsTraining) {
  ASSERT_OK_AND_ASSIGN(const uint64_t steps,
                       TotalSteps(Training("0.005:100, 1e-3:1000", "constant", 2000, 0, 0)));
  EXPECT_EQ(steps, 1000u);
}

struct CurvePoint {
  const char* schedule;
  uint64_t completed;
  double factor;
};

TEST(LrScheduleTest, Curves_MatchTheirFormula) {
  // 350 steps, 10 of warm-up, down to 10 %: the demo's curve.
  const std::vector<CurvePoint> points = {
      {"cosine", 0, 0.1},    {"cosine", 4, 0.5},
      {"cosine", 9, 1.0},    {"cosine", 10, 1.0},
      {"cosine", 180, 0.55}, {"cosine", 95, 0.1 + 0.9 * 0.5 * (1 + std::cos(M_PI * 0.25))},
      {"cosine", 350, 0.1},  {"linear", 10, 1.0},
      {"linear", 180, 0.55}, {"linear", 350, 0.1},
      {"constant", 9, 1.0},  {"constant", 349, 1.0},
      {"constant", 3, 0.4}};
  for (const CurvePoint& point : points) {
    ASSERT_OK_AND_ASSIGN(
        const double rate,
        LearningRateAt(Training("0.03", point.schedule, 350, 10, 0.1), point.completed));
    EXPECT_NEAR(rate, 0.03 * point.factor, 1e-17) << point.schedule << " at " << point.completed;
  }
}

TEST(LrSchedulePropertyTest, RatesStayBetweenFinalFactorAndTheRate) {
  EXPECT_TRUE(rc::check([] {
    const auto steps = *rc::gen::inRange<uint32_t>(1, 400);
    const auto warmup = *rc::gen::inRange<uint32_t>(0, steps);
    const double final_factor = *rc::gen::inRange(0, 101) / 100.0;
    const auto name = *rc::gen::elementOf(std::vector<std::string>{"constant", "linear", "cosine"});
    const auto lr = LrSchedule::Create(Training("0.5", name, steps, warmup, final_factor));
    RC_ASSERT(lr.ok());
    RC_ASSERT(lr->total_steps() == steps);
    for (uint32_t k = 0; k < steps; ++k) {
      RC_ASSERT(lr->At(k) <= 0.5);
      if (k < warmup) {
        RC_ASSERT(lr->At(k) > 0);
        if (k > 0) RC_ASSERT(lr->At(k) > lr->At(k - 1));
      } else {
        RC_ASSERT(lr->At(k) >= 0.5 * final_factor * (1 - 1e-15));
        if (k > warmup) RC_ASSERT(lr->At(k) <= lr->At(k - 1));
      }
    }
  }));
}

TEST(LrScheduleTest, UnusableSettings_NameTheSetting) {
  const auto refused = [](const v1::TrainingSpec& training, const char* says) {
    EXPECT_THAT(LrSchedule::Create(training),
                testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(says)));
  };
  refused(Training("0.1", "constant", 0, 0, 0), "training.steps");
  refused(Training("0.1", "zigzag", 10, 0, 0), "'zigzag' is unknown; expected constant");
  refused(Training("0.1", "cosine", 10, 0, 1.5), "training.final_factor is 1.5");
  refused(Training("0.1", "cosine", 10, 10, 0), "training.warmup_steps is 10 but the run takes 10");
  refused(Training("x", "cosine", 10, 0, 0), "training.learning_rate: ");
}

}  // namespace
}  // namespace neolog
