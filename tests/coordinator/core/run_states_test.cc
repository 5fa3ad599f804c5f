#include "coordinator/core/run_states.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

constexpr v1::RunState kStates[] = {
    v1::RUN_STATE_QUEUED,   v1::RUN_STATE_RUNNING, v1::RUN_STATE_PAUSING,   v1::RUN_STATE_PAUSED,
    v1::RUN_STATE_STOPPING, v1::RUN_STATE_STOPPED, v1::RUN_STATE_COMPLETED, v1::RUN_STATE_FAILED};
constexpr RunEvent kEvents[] = {
    RunEvent::kPlaced,    RunEvent::kNoMemberLeft, RunEvent::kLastStep, RunEvent::kPauseAsked,
    RunEvent::kStopAsked, RunEvent::kResumeAsked,  RunEvent::kLeft,     RunEvent::kFailed};

/// Every arrow of the README's drawing; what is not here must be refused or change nothing.
const std::map<std::pair<v1::RunState, RunEvent>, v1::RunState>& Arrows() {
  static const auto& arrows = *new std::map<std::pair<v1::RunState, RunEvent>, v1::RunState>{
      {{v1::RUN_STATE_QUEUED, RunEvent::kPlaced}, v1::RUN_STATE_RUNNING},
      {{v1::RUN_STATE_QUEUED, RunEvent::kPauseAsked}, v1::RUN_STATE_PAUSED},
      {{v1::RUN_STATE_QUEUED, RunEvent::kStopAsked}, v1::RUN_STATE_STOPPED},
      {{v1::RUN_STATE_RUNNING, RunEvent::kNoMemberLeft}, v1::RUN_STATE_QUEUED},
      {{v1::RUN_STATE_RUNNING, RunEvent::kLastStep}, v1::RUN_STATE_COMPLETED},
      {{v1::RUN_STATE_RUNNING, RunEvent::kPauseAsked}, v1::RUN_STATE_PAUSING},
      {{v1::RUN_STATE_RUNNING, RunEvent::kStopAsked}, v1::RUN_STATE_STOPPING},
      {{v1::RUN_STATE_RUNNING, RunEvent::kFailed}, v1::RUN_STATE_FAILED},
      {{v1::RUN_STATE_PAUSING, RunEvent::kLeft}, v1::RUN_STATE_PAUSED},
      {{v1::RUN_STATE_PAUSING, RunEvent::kNoMemberLeft}, v1::RUN_STATE_PAUSED},
      {{v1::RUN_STATE_PAUSING, RunEvent::kStopAsked}, v1::RUN_STATE_STOPPING},
      {{v1::RUN_STATE_PAUSING, RunEvent::kLastStep}, v1::RUN_STATE_COMPLETED},
      {{v1::RUN_STATE_PAUSING, RunEvent::kFailed}, v1::RUN_STATE_FAILED},
      {{v1::RUN_STATE_PAUSED, RunEvent::kResumeAsked}, v1::RUN_STATE_QUEUED},
      {{v1::RUN_STATE_PAUSED, RunEvent::kStopAsked}, v1::RUN_STATE_STOPPED},
      {{v1::RUN_STATE_STOPPING, RunEvent::kLeft}, v1::RUN_STATE_STOPPED},
      {{v1::RUN_STATE_STOPPING, RunEvent::kNoMemberLeft}, v1::RUN_STATE_STOPPED},
      {{v1::RUN_STATE_STOPPING, RunEvent::kLastStep}, v1::RUN_STATE_COMPLETED},
      {{v1::RUN_STATE_STOPPING, RunEvent::kFailed}, v1::RUN_STATE_FAILED},
      {{v1::RUN_STATE_STOPPED, RunEvent::kResumeAsked}, v1::RUN_STATE_QUEUED},
      {{v1::RUN_STATE_FAILED, RunEvent::kResumeAsked}, v1::RUN_STATE_QUEUED},
  };
  return arrows;
}

TEST(RunStates, EveryStateAndEvent_TakesTheDrawnArrowOrNone) {
  for (const v1::RunState state : kStates) {
    for (const RunEvent event : kEvents) {
      const auto arrow = Transition(state, event);
      const auto drawn = Arrows().find({state, event});
      const std::string where =
          std::string(StateName(state)) + ", event " + std::to_string(static_cast<int>(event));
      if (drawn != Arrows().end()) {
        ASSERT_OK(arrow) << where;
        EXPECT_TRUE(arrow->changes) << where;
        EXPECT_EQ(arrow->to, drawn->second) << where;
        EXPECT_TRUE(IsArrow(state, drawn->second)) << where;
      } else if (arrow.ok()) {
        EXPECT_FALSE(arrow->changes) << where;
        EXPECT_EQ(arrow->to, state) << where;
      }
    }
  }
}

TEST(RunStates, RepeatedRequests_ChangeNothing) {
  for (const auto& [state, event] : std::vector<std::pair<v1::RunState, RunEvent>>{
           {v1::RUN_STATE_PAUSING, RunEvent::kPauseAsked},
           {v1::RUN_STATE_PAUSED, RunEvent::kPauseAsked},
           {v1::RUN_STATE_STOPPING, RunEvent::kStopAsked},
           {v1::RUN_STATE_STOPPED, RunEvent::kStopAsked},
           {v1::RUN_STATE_QUEUED, RunEvent::kResumeAsked},
           {v1::RUN_STATE_RUNNING, RunEvent::kResumeAsked}}) {
    const auto arrow = Transition(state, event);
    ASSERT_OK(arrow);
    EXPECT_FALSE(arrow->changes);
  }
}

TEST(RunStates, RequestsThatTheStateForbids_SayWhyAndWhatIsPossible) {
  EXPECT_THAT(Transition(v1::RUN_STATE_COMPLETED, RunEvent::kResumeAsked),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("submit a new run")));
  EXPECT_THAT(Transition(v1::RUN_STATE_PAUSING, RunEvent::kResumeAsked),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("try again in a moment")));
  EXPECT_THAT(Transition(v1::RUN_STATE_COMPLETED, RunEvent::kStopAsked),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("it has ended")));
  EXPECT_THAT(Transition(v1::RUN_STATE_FAILED, RunEvent::kPauseAsked),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("cannot pause a run that is failed")));
}

TEST(RunStates, NothingLeadsOutOfCompleted) {
  for (const v1::RunState to : kStates) EXPECT_FALSE(IsArrow(v1::RUN_STATE_COMPLETED, to));
}

}  // namespace
}  // namespace neolog::coordinator
