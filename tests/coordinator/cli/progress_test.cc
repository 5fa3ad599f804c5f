#include "coordinator/cli/progress.h"

#include <gtest/gtest.h>

#include <cmath>

namespace neolog::cli {
namespace {

ProgressView View() {
  ProgressView view;
  view.name = "zesko";
  view.step = 123;
  view.total = 350;
  view.rate = 5.12;
  view.loss = 0.02854;
  view.eta_seconds = 44.3;
  view.workers = 2;
  return view;
}

struct WidthCase {
  const char* name;
  int width;
  const char* line;
};

class ProgressLineTest : public ::testing::TestWithParam<WidthCase> {};

TEST_P(ProgressLineTest, Width_DecidesWhatIsShown) {
  const std::string line = FormatProgress(View(), GetParam().width);
  EXPECT_EQ(line, GetParam().line);
  EXPECT_LT(line.size(), static_cast<size_t>(GetParam().width));
}

INSTANTIATE_TEST_SUITE_P(
    All, ProgressLineTest,
    ::testing::Values(
        WidthCase{"Wide", 120,
                  "zesko  123/350  35%  [=============>                        ]  loss 0.0285  5.1 "
                  "steps/s  ETA 44s  "
                  "2 workers"},
        WidthCase{
            "Terminal", 80,
            "zesko  123/350  35%  [===>      ]  loss 0.0285  5.1 steps/s  ETA 44s  2 workers"},
        WidthCase{"NoBar", 70, "zesko  123/350  35%  loss 0.0285  5.1 steps/s  ETA 44s  2 workers"},
        WidthCase{"NoWorkers", 60, "zesko  123/350  35%  loss 0.0285  5.1 steps/s  ETA 44s"},
        WidthCase{"NoRate", 50, "zesko  123/350  35%  loss 0.0285  ETA 44s"},
        WidthCase{"NoLoss", 36, "zesko  123/350  35%  ETA 44s"},
        WidthCase{"NameAndSteps", 24, "zesko  123/350  35%"},
        WidthCase{"StepsOnly", 14, "123/350  35%"}, WidthCase{"Tiny", 8, "123/350"}),
    [](const auto& info) { return info.param.name; });

TEST(ProgressLineTest, BeforeTheFirstStep_SaysWhatItWaitsFor) {
  v1::RunInfo run;
  run.mutable_spec()->set_name("zesko");
  run.set_state(v1::RUN_STATE_QUEUED);
  run.set_total_steps(350);
  run.set_reason("waiting for 2 workers");
  EXPECT_EQ(FormatProgress(ViewOf(run), 60),
            "zesko  0/350   0%  [>              ]  waiting for 2 workers");
}

TEST(ProgressLineTest, AtTheEnd_HasNoEta) {
  ProgressView view = View();
  view.step = 350;
  EXPECT_EQ(FormatProgress(view, 60), "zesko  350/350 100%  loss 0.0285  5.1 steps/s  2 workers");
}

TEST(ProgressLineTest, UnknownNumbers_AreNotInvented) {
  ProgressView view;
  view.step = 1;
  view.loss = NAN;
  EXPECT_EQ(FormatProgress(view, 30), "1/0   0%  ? steps/s");
}

TEST(FormatDurationTest, Units) {
  EXPECT_EQ(FormatDuration(0.4), "0s");
  EXPECT_EQ(FormatDuration(59.4), "59s");
  EXPECT_EQ(FormatDuration(65), "1m05s");
  EXPECT_EQ(FormatDuration(7380), "2h03m");
  EXPECT_EQ(FormatDuration(3 * 86400 + 4 * 3600), "3d04h");
  EXPECT_EQ(FormatDuration(-1), "?");
  EXPECT_EQ(FormatDuration(NAN), "?");
}

TEST(FormatRateTest, SlowRunsAreSecondsAStep) {
  EXPECT_EQ(FormatRate(12.345), "12.3 steps/s");
  EXPECT_EQ(FormatRate(0.25), "4.0 s/step");
  EXPECT_EQ(FormatRate(0), "? steps/s");
}

TEST(LinePacerTest, PrintsAtTenthsEveryTenSecondsAndAtTheEnd) {
  LinePacer pacer;
  const auto at = [](double seconds) { return absl::Seconds(seconds); };
  EXPECT_TRUE(pacer.ShouldPrint(1, 100, at(0)));
  EXPECT_FALSE(pacer.ShouldPrint(2, 100, at(1)));
  EXPECT_TRUE(pacer.ShouldPrint(10, 100, at(2)));
  EXPECT_FALSE(pacer.ShouldPrint(11, 100, at(11)));
  EXPECT_TRUE(pacer.ShouldPrint(12, 100, at(12)));
  EXPECT_FALSE(pacer.ShouldPrint(12, 100, at(40)));  // no progress, no line
  EXPECT_TRUE(pacer.ShouldPrint(100, 100, at(41)));
  EXPECT_FALSE(pacer.ShouldPrint(100, 100, at(60)));
}

}  // namespace
}  // namespace neolog::cli
