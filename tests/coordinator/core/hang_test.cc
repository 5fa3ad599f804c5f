#include "coordinator/core/hang.h"

#include <gtest/gtest.h>

#include "tests/coordinator/core/fixtures.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using testing::Cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeSpec;

constexpr auto kNothing = v1::Heartbeat::WAITS_FOR_NOTHING;
constexpr auto kPeers = v1::Heartbeat::WAITS_FOR_PEERS;
constexpr auto kCoordinator = v1::Heartbeat::WAITS_FOR_COORDINATOR;

/// What one worker says all the time.
struct Says {
  std::string id;
  v1::Heartbeat::WaitsFor waits_for = kNothing;
  std::string phase = "stepping";
  bool moves = false;
};

class HangTest : public ::testing::Test {
 protected:
  HangTest() {
    cluster_.Join("w0");
    cluster_.Join("w1");
    run_ = cluster_.Submit(MakeSpec("zesko", 1000, 2));
  }
  /// Everyone says the same every quarter of a second.
  void Live(absl::Duration by, const std::vector<Says>& all) {
    for (absl::Duration done; done < by; done += absl::Milliseconds(250)) {
      for (const Says& says : all) {
        if (says.moves) ++progress_;
        cluster_.Heartbeat(says.id, says.phase, says.moves ? progress_ : 7, says.waits_for);
      }
      cluster_.Advance(absl::Milliseconds(250));
    }
  }
  /// Commits `count` steps, one every `step`.
  void Train(int count, absl::Duration step) {
    for (int i = 0; i < count; ++i) {
      Live(step, {{.id = "w0", .moves = true}, {.id = "w1", .moves = true}});
      const uint64_t next = cluster_.run(run_).committed() + 1;
      cluster_.Commit("w0", run_, next, next);
    }
  }
  v1::WorkerInfo StatusOf(const std::string& id) {
    const v1::GetStatusResponse status = cluster_.engine().Status(cluster_.now());
    for (const v1::WorkerInfo& worker : status.workers()) {
      if (worker.worker().worker_id() == id) return worker;
    }
    return {};
  }

  Cluster cluster_;
  std::string run_;
  uint64_t progress_ = 100;
};

TEST_F(HangTest, MemberWhoseComputingStandsStill_LeavesAndTheOneThatWaitsForItGoesOn) {
  Train(3, absl::Seconds(1));
  Live(absl::Seconds(29), {{"w0", kPeers}, {"w1", kNothing}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0", "w1"));
  Live(absl::Seconds(3), {{"w0", kPeers}, {"w1", kNothing}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0"));
  EXPECT_THAT(cluster_.team().roster.reason(),
              HasSubstr("'w1' has made no progress for 30 s while stepping"));
  EXPECT_EQ(cluster_.run(run_).state, v1::RUN_STATE_RUNNING);
  EXPECT_EQ(cluster_.TakeAssignment("w1").runs_size(), 0);
  EXPECT_EQ(StatusOf("w1").state(), "hung");
  EXPECT_THAT(StatusOf("w1").reason(), HasSubstr("no progress for 30 s"));
  Live(absl::Seconds(60), {{.id = "w0", .moves = true}, {"w1", kNothing}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0"))
      << "it is not taken in again while it stands still";
  Live(absl::Seconds(1),
       {{.id = "w0", .moves = true}, {.id = "w1", .phase = "idle", .moves = true}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0", "w1")) << "its kernel ended after all";
}

TEST_F(HangTest, MemberThatHangsAgain_IsNotTakenBackByItsTeam) {
  Train(3, absl::Seconds(1));
  for (int hang = 1; hang <= 2; ++hang) {
    ASSERT_THAT(cluster_.Members(), ElementsAre("w0", "w1")) << "before hang " << hang;
    Live(absl::Seconds(32), {{"w0", kPeers}, {"w1", kNothing}});
    ASSERT_THAT(cluster_.Members(), ElementsAre("w0"));
    Live(absl::Seconds(1),
         {{.id = "w0", .moves = true}, {.id = "w1", .phase = "idle", .moves = true}});
  }
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0"));
  EXPECT_EQ(StatusOf("w1").state(), "idle");
}

TEST_F(HangTest, LongSteps_GiveALongerLimit) {
  Train(3, absl::Seconds(8));
  Live(absl::Seconds(78), {{"w0", kPeers}, {"w1", kNothing}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0", "w1")) << "ten steps are 80 s";
  Live(absl::Seconds(4), {{"w0", kPeers}, {"w1", kNothing}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0"));
}

TEST_F(HangTest, LoadingAndFirstStep_HaveTenMinutes) {
  Live(absl::Minutes(9), {{"w0", kPeers}, {"w1", kNothing, "loading"}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0", "w1"));
  Live(absl::Minutes(9), {{"w0", kPeers}, {"w1", kNothing, "stepping"}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0", "w1")) << "nobody knows how long a step takes";
  Live(absl::Minutes(2), {{"w0", kPeers}, {"w1", kNothing, "stepping"}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0"));
}

TEST_F(HangTest, EveryoneWaitsForTheOthers_TheSameMembersGetNewLinks) {
  Train(3, absl::Seconds(1));
  Live(absl::Seconds(31), {{"w0", kPeers}, {"w1", kPeers}});
  EXPECT_THAT(cluster_.Members(), ElementsAre("w0", "w1"));
  EXPECT_EQ(cluster_.team().roster.version(), 2u);
  EXPECT_THAT(cluster_.team().roster.reason(),
              HasSubstr("every member has waited for the others for 30 s"));
}

TEST_F(HangTest, WaitingForTheCoordinator_IsNobodysFault) {
  Train(3, absl::Seconds(1));
  Live(absl::Minutes(20), {{"w0", kPeers}, {"w1", kCoordinator, "regrouping"}});
  EXPECT_EQ(cluster_.team().roster.version(), 1u);
}

TEST_F(HangTest, StoppedCoordinator_AccusesNobody) {
  Train(3, absl::Seconds(1));
  Live(absl::Seconds(5), {{"w0", kPeers}, {"w1", kNothing}});
  // No tick and no heartbeat for a minute, as after SIGSTOP; the first thing it hears is that
  // everybody lives.
  ClusterState state = cluster_.engine().state();
  EXPECT_THAT(DecideHangs(CoreOptions(), state), IsEmpty());
  state.workers.at("w1").still_since -= absl::Seconds(60);
  ASSERT_EQ(DecideHangs(CoreOptions(), state).size(), 1u);
  state.workers.at("w1").last_heartbeat -= absl::Seconds(60);
  EXPECT_THAT(DecideHangs(CoreOptions(), state), IsEmpty())
      << "time counts up to the last heartbeat";
}

TEST_F(HangTest, OnlyMemberHangs_TheRunWaitsUntilItMovesAgain) {
  Cluster alone;
  alone.Join("w0");
  const std::string run = alone.Submit(MakeSpec("zesko", 100, 1));
  for (uint64_t step = 1; step <= 3; ++step) {
    alone.Heartbeat("w0");
    alone.Advance(absl::Milliseconds(500));
    alone.Commit("w0", run, step, step);
  }
  for (int i = 0; i < 64; ++i) {
    alone.Heartbeat("w0", "stepping", 7);
    alone.Advance(absl::Milliseconds(500));
  }
  EXPECT_EQ(alone.run(run).state, v1::RUN_STATE_QUEUED);
  EXPECT_THAT(alone.run(run).reason, HasSubstr("'w0' has made no progress for 30 s"));
  alone.Heartbeat("w0", "idle", 8);
  alone.Advance(absl::Milliseconds(600));
  EXPECT_EQ(alone.run(run).state, v1::RUN_STATE_RUNNING);
  EXPECT_EQ(alone.TakeAssignment("w0").runs(0).committed_step(), 3u);
}

TEST(MedianTest, IsTheMiddle) {
  EXPECT_EQ(Median({}), absl::ZeroDuration());
  EXPECT_EQ(Median({absl::Seconds(5)}), absl::Seconds(5));
  EXPECT_EQ(Median({absl::Seconds(90), absl::Seconds(1), absl::Seconds(2)}), absl::Seconds(2))
      << "a regroup is no step";
}

}  // namespace
}  // namespace neolog::coordinator
