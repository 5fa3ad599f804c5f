#include "coordinator/cli/detach.h"

#include <gtest/gtest.h>

#include <csignal>

namespace neolog::cli {
namespace {

using Action = DetachLogic::Action;

absl::Duration At(double seconds) { return absl::Seconds(seconds); }

TEST(DetachLogicTest, CtrlCOnATerminal_DetachesAfterTwoSeconds) {
  DetachLogic logic(/*interactive=*/true);
  EXPECT_EQ(logic.NextDeadline(), absl::InfiniteDuration());
  EXPECT_EQ(logic.OnSignal(SIGINT, At(10)), Action::kAnnounce);
  EXPECT_EQ(logic.NextDeadline(), At(12));
  EXPECT_EQ(logic.OnTick(At(11.9)), Action::kNone);
  EXPECT_EQ(logic.OnTick(At(12)), Action::kDetach);
}

TEST(DetachLogicTest, SecondCtrlC_AsksAndOnlyYesStops) {
  for (const bool yes : {true, false}) {
    DetachLogic logic(true);
    logic.OnSignal(SIGINT, At(10));
    EXPECT_EQ(logic.OnSignal(SIGINT, At(11)), Action::kAsk);
    EXPECT_EQ(logic.OnTick(At(20)), Action::kNone);  // the question has no time limit
    EXPECT_EQ(logic.Answered(yes), yes ? Action::kStopRun : Action::kDetach);
  }
}

TEST(DetachLogicTest, LateSecondCtrlC_Detaches) {
  DetachLogic logic(true);
  logic.OnSignal(SIGINT, At(10));
  EXPECT_EQ(logic.OnSignal(SIGINT, At(12.5)), Action::kDetach);
}

TEST(DetachLogicTest, CtrlCWithoutATerminal_DetachesAtOnce) {
  DetachLogic logic(false);
  EXPECT_EQ(logic.OnSignal(SIGINT, At(10)), Action::kDetach);
}

TEST(DetachLogicTest, TerminationAndHangUp_DetachAtOnceEverywhere) {
  for (const bool interactive : {true, false}) {
    for (const int signal : {SIGTERM, SIGHUP}) {
      DetachLogic logic(interactive);
      EXPECT_EQ(logic.OnSignal(signal, At(10)), Action::kDetachTerminated);
    }
  }
}

TEST(DetachLogicTest, OtherSignals_MeanNothing) {
  DetachLogic logic(true);
  EXPECT_EQ(logic.OnSignal(SIGUSR1, At(10)), Action::kNone);
}

}  // namespace
}  // namespace neolog::cli
