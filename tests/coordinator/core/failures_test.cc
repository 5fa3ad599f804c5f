#include "coordinator/core/failures.h"

#include <gtest/gtest.h>

#include "tests/coordinator/core/fixtures.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using testing::Cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeSpec;

v1::RunFailure BadInput(const std::string& message) {
  v1::RunFailure failure;
  failure.set_kind(v1::RunFailure::KIND_BAD_INPUT);
  failure.set_message(message);
  return failure;
}

TEST(Failures, BadInputOfOneRun_FailsItAloneAndThePackGoesOn) {
  Cluster cluster;
  const std::string good = cluster.Submit(MakeSpec("good", 100, 2));
  const std::string bad = cluster.Submit(MakeSpec("bad", 100, 2));
  cluster.Join("w0");
  cluster.Join("w1");
  cluster.Advance(absl::Milliseconds(600));
  ASSERT_EQ(cluster.TakeAssignment("w0").runs_size(), 2);
  cluster.Report("w0", "failed", bad, {}, BadInput("the committed state is damaged"));
  EXPECT_EQ(cluster.run(bad).state, v1::RUN_STATE_FAILED);
  EXPECT_EQ(cluster.run(bad).failure.kind(), v1::RunFailure::KIND_BAD_INPUT);
  EXPECT_EQ(cluster.run(bad).reason, "the committed state is damaged (worker 'w0')");
  EXPECT_EQ(cluster.run(good).state, v1::RUN_STATE_RUNNING);
  EXPECT_THAT(cluster.Members(), ElementsAre("w0", "w1"));
  for (const char* id : {"w0", "w1"}) {
    const v1::Assignment assignment = cluster.TakeAssignment(id);
    EXPECT_EQ(assignment.roster().version(), 2u) << "both prepare again, without the bad run";
    ASSERT_EQ(assignment.runs_size(), 1);
    EXPECT_EQ(assignment.runs(0).run_id(), good);
  }
  cluster.Commit("w0", good, 1, 100);
  EXPECT_EQ(cluster.run(good).state, v1::RUN_STATE_COMPLETED);
}

TEST(Failures, NewcomerThatCannotPrepare_IsDroppedWithReasonAndTheOthersGoOn) {
  struct Case {
    const char* name;
    bool names_the_run;
    const char* reason;
  };
  for (const Case& c :
       {Case{"its own", false, "'w1' cannot go on: no model at '/models/tiny'"},
        Case{"a run that the others can", true, "although 'w0' can: no model at '/models/tiny'"}}) {
    SCOPED_TRACE(c.name);
    Cluster cluster;
    cluster.Join("w0");
    const std::string run = cluster.Submit(MakeSpec());
    cluster.Advance(absl::Milliseconds(600));
    cluster.Report("w0", "encoding");
    cluster.Report("w0", "stepping");
    cluster.Commit("w0", run, 1, 5);
    cluster.Join("w1");
    ASSERT_THAT(cluster.Members(), ElementsAre("w0", "w1"));
    cluster.Report("w1", "failed", c.names_the_run ? run : "", {},
                   BadInput("no model at '/models/tiny'"));
    EXPECT_EQ(cluster.run(run).state, v1::RUN_STATE_RUNNING);
    EXPECT_THAT(cluster.Members(), ElementsAre("w0"));
    EXPECT_EQ(cluster.TakeAssignment("w1").runs_size(), 0) << "idle";
    for (int i = 0; i < 5; ++i) {
      for (const char* id : {"w0", "w1"}) cluster.Heartbeat(id);
      cluster.Advance(absl::Milliseconds(100));
    }
    EXPECT_THAT(cluster.Members(), ElementsAre("w0")) << "it is not taken in again";
    const v1::GetStatusResponse status = cluster.engine().Status(cluster.now());
    ASSERT_EQ(status.workers_size(), 2);
    EXPECT_EQ(status.workers(1).state(), "idle");
    EXPECT_THAT(status.workers(1).reason(), HasSubstr(c.reason));
    cluster.Commit("w0", run, 6, 100);
    EXPECT_EQ(cluster.run(run).state, v1::RUN_STATE_COMPLETED);
  }
}

TEST(Failures, BadInputFoundWhileStepping_FailsTheRunAtOnce) {
  Cluster cluster;
  const std::string good = cluster.Submit(MakeSpec("good", 100, 2));
  const std::string bad = cluster.Submit(MakeSpec("bad", 100, 2));
  cluster.Join("w0");
  cluster.Join("w1");
  cluster.Advance(absl::Milliseconds(600));
  for (const char* id : {"w0", "w1"}) cluster.Report(id, "stepping");
  cluster.Report("w1", "failed", bad, {}, BadInput("picture '3.png' cannot be decoded"));
  EXPECT_EQ(cluster.run(bad).state, v1::RUN_STATE_FAILED);
  EXPECT_EQ(cluster.run(good).state, v1::RUN_STATE_RUNNING);
  EXPECT_THAT(cluster.Members(), ElementsAre("w0", "w1")) << "its machine is all right";
}

TEST(Failures, NoWorkerCanPrepare_FailsTheRunWithTheLastOnesMessage) {
  Cluster cluster;
  cluster.Join("w0");
  cluster.Join("w1");
  const std::string run = cluster.Submit(MakeSpec("zesko", 100, 2));
  cluster.Report("w1", "failed", "", {}, BadInput("no model on host 1"));
  EXPECT_EQ(cluster.run(run).state, v1::RUN_STATE_RUNNING);
  EXPECT_THAT(cluster.Members(), ElementsAre("w0"));
  cluster.Report("w0", "failed", "", {}, BadInput("no model on host 0"));
  EXPECT_EQ(cluster.run(run).state, v1::RUN_STATE_FAILED);
  EXPECT_EQ(cluster.run(run).reason, "no model on host 0 (worker 'w0')");
  EXPECT_FALSE(cluster.has_team());
  ASSERT_OK(cluster.Resume(run));
  EXPECT_THAT(cluster.Members(), ElementsAre("w0", "w1")) << "what was wrong may have been mended";
}

TEST(Failures, OnlyMemberCannotPrepare_AnotherWorkerTakesTheRun) {
  Cluster cluster;
  cluster.Join("w0");
  const std::string run = cluster.Submit(MakeSpec("zesko", 100, 1));
  cluster.Join("w1");
  ASSERT_THAT(cluster.Members(), ElementsAre("w0"));
  cluster.Report("w0", "failed", "", {}, BadInput("no model"));
  EXPECT_EQ(cluster.run(run).state, v1::RUN_STATE_RUNNING);
  EXPECT_THAT(cluster.Members(), ElementsAre("w1"));
}

}  // namespace
}  // namespace neolog::coordinator
