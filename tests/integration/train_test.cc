// The whole program as a user runs it: neolog, neolog-coordinator and neolog-worker as processes,
// the demo's model, real pictures. What changes from test to test is what happens on the way; the
// bytes at the end must not.

#include <gmock/gmock.h>
#include <signal.h>

#include "common/base/process.h"
#include "tests/integration/local_cluster.h"

namespace neolog {
namespace {

using ::neolog::testing::LocalClusterForTest;
using ::neolog::testing::Records;
using ::neolog::testing::RunIdOf;
using ::neolog::testing::Sharing;
using ::neolog::testing::SharingOf;
using ::neolog::testing::WhyNotEveryStepOnce;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kSteps = 40;

/// The embedding files of the run that nothing happened to, trained once by one worker.
const std::string& UndisturbedBytes() {
  static const std::string bytes = [] {
    LocalClusterForTest cluster;
    const CommandResult result =
        cluster.Neolog({"train", cluster.RunFile("zesko", kSteps), "--workers", "1"});
    EXPECT_TRUE(result.exit.success()) << result.err;
    EXPECT_THAT(result.out, AllOf(HasSubstr("zesko.pt\n"), HasSubstr("zesko.safetensors\n")));
    EXPECT_THAT(result.err, HasSubstr("is learned"));
    return cluster.EmbeddingBytes("zesko");
  }();
  return bytes;
}

TEST(TrainTest, AnyNumberOfWorkers_GivesTheSameBytes) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  for (const char* workers : {"2", "3"}) {
    LocalClusterForTest cluster;
    const CommandResult result =
        cluster.Neolog({"train", cluster.RunFile("zesko", kSteps), "--workers", workers});
    ASSERT_TRUE(result.exit.success()) << result.err;
    EXPECT_EQ(cluster.EmbeddingBytes("zesko"), UndisturbedBytes()) << workers << " workers";
  }
}

TEST(TrainTest, GatheredOverNccl_GivesTheSameBytes) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  const testing::ScopedDir meeting;
  LocalClusterForTest cluster({{"NEOLOG_COLLECTIVE", "nccl"},
                               {"NEOLOG_NCCL_LIBRARY", NEOLOG_FAKE_NCCL},
                               {"NEOLOG_CUDART_LIBRARY", NEOLOG_FAKE_NCCL},
                               {"TMPDIR", meeting.path()}});
  const CommandResult doctor = cluster.Neolog({"doctor"});
  EXPECT_THAT(doctor.out, HasSubstr("2.28.9"));
  const CommandResult result =
      cluster.Neolog({"train", cluster.RunFile("zesko", kSteps), "--workers", "2"});
  ASSERT_TRUE(result.exit.success()) << result.err;
  EXPECT_EQ(cluster.EmbeddingBytes("zesko"), UndisturbedBytes());
  int over_nccl = 0;
  for (const auto& record : cluster.DownAndJournal())
    over_nccl +=
        record.has_roster_formed() && record.roster_formed().roster().collective() == "nccl";
  EXPECT_EQ(over_nccl, 1);
}

/// The journal of a cluster that is taken down has every step of "zesko" once, in order.
void ExpectEveryStepOnce(LocalClusterForTest& cluster) {
  const Records records = cluster.DownAndJournal();
  EXPECT_EQ(WhyNotEveryStepOnce(records, RunIdOf(records, "zesko"), kSteps), "");
}

TEST(TrainTest, KilledWorkerAndCoordinator_ChangeNothing) {
  LocalClusterForTest cluster;
  cluster.Submit({cluster.RunFile("zesko", kSteps), "--workers", "2"});
  ASSERT_TRUE(cluster.watch().WaitStep("zesko", 3));
  const auto workers = cluster.WorkerPids();
  ASSERT_EQ(workers.count("w1"), 1u);
  kill(workers.at("w1"), SIGKILL);
  ASSERT_TRUE(cluster.watch().WaitStep("zesko", 12));
  cluster.KillCoordinator();
  ASSERT_TRUE(cluster.WaitForNewCoordinator());
  const CommandResult waited = cluster.Neolog({"wait", "zesko"});
  EXPECT_TRUE(waited.exit.success()) << waited.err;
  EXPECT_EQ(cluster.EmbeddingBytes("zesko"), UndisturbedBytes());
  ExpectEveryStepOnce(cluster);
}

TEST(TrainTest, PauseAndResumeOnMoreWorkers_ChangeNothing) {
  LocalClusterForTest cluster;
  cluster.Submit({cluster.RunFile("zesko", kSteps), "--workers", "1"});
  ASSERT_TRUE(cluster.watch().WaitStep("zesko", 3));
  const CommandResult paused = cluster.Neolog({"pause", "zesko"});
  ASSERT_TRUE(paused.exit.success()) << paused.err;
  EXPECT_EQ(cluster.Neolog({"wait", "zesko"}).exit.code, 75);
  EXPECT_LT(cluster.watch().StepOf("zesko"), static_cast<uint64_t>(kSteps));
  const CommandResult resumed = cluster.Neolog({"resume", "zesko", "--workers", "2"});
  EXPECT_TRUE(resumed.exit.success()) << resumed.err;
  EXPECT_EQ(cluster.EmbeddingBytes("zesko"), UndisturbedBytes());
  ExpectEveryStepOnce(cluster);
}

TEST(TrainTest, AnotherRunInTheSamePack_ChangesNothing) {
  LocalClusterForTest cluster;
  // Runs that wait in the queue together are packed: a third one holds the workers until both are
  // there.
  cluster.Submit({cluster.RunFile("wimbra", kSteps), "--workers", "2", "--set", "name=first",
                  "--set", "training.steps=100000"});
  ASSERT_TRUE(
      cluster.watch().WaitStep("first", 1));  // while it waits itself, it would be packed too
  for (const char* word : {"wimbra", "zesko"})
    cluster.Submit({cluster.RunFile(word, kSteps), "--workers", "2"});
  const CommandResult stopped = cluster.Neolog({"stop", "first"});
  ASSERT_TRUE(stopped.exit.success()) << stopped.err;
  for (const char* word : {"wimbra", "zesko"}) {
    const CommandResult waited = cluster.Neolog({"wait", word});
    EXPECT_TRUE(waited.exit.success()) << waited.err;
  }
  EXPECT_EQ(cluster.EmbeddingBytes("zesko"), UndisturbedBytes());
  const Records records = cluster.DownAndJournal();
  const Sharing sharing = SharingOf(records, RunIdOf(records, "wimbra"), RunIdOf(records, "zesko"));
  EXPECT_EQ(sharing.steps, static_cast<uint64_t>(kSteps));
  EXPECT_GE(sharing.turns, 3);
}

TEST(TrainTest, ClientThatLeaves_DoesNotStopTheRun) {
  LocalClusterForTest cluster;
  auto train = cluster.Start({"train", cluster.RunFile("zesko", kSteps), "--workers", "1"});
  ASSERT_TRUE(cluster.watch().WaitStep("zesko", 2));
  ASSERT_TRUE(train->Signal(SIGINT).ok());
  const auto exit = train->Wait(absl::Minutes(1));
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->code, 130);
  EXPECT_THAT(cluster.StartedErr(),
              AllOf(HasSubstr("The run goes on"), HasSubstr("neolog logs -f zesko")));
  EXPECT_TRUE(cluster.Neolog({"wait", "zesko"}).exit.success());
  EXPECT_EQ(cluster.EmbeddingBytes("zesko"), UndisturbedBytes());
}

TEST(TrainTest, NumbersThatOverflow_FailTheRunWithWhatToTry) {
  LocalClusterForTest cluster;
  const CommandResult result =
      cluster.Neolog({"train", cluster.RunFile("zesko", kSteps), "--workers", "1", "--set",
                      "training.learning_rate=1e38"});
  EXPECT_EQ(result.exit.code, 5) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("failed"), HasSubstr("step"), HasSubstr("rate")));
}

TEST(ClusterTest, UpStatusAndDown_AreWhatTheySay) {
  LocalClusterForTest cluster;
  for (int i = 0; i < 2; ++i) {  // the second `up` finds what the first one started
    const CommandResult up = cluster.Neolog({"up", "--workers", "2"});
    ASSERT_TRUE(up.exit.success()) << up.err;
    EXPECT_THAT(up.err, HasSubstr("2 workers"));
  }
  const auto workers = cluster.WorkerPids();
  EXPECT_EQ(workers.size(), 2u);
  EXPECT_EQ(cluster.Status()["workers"].size(), 2u);
  EXPECT_THAT(cluster.Neolog({"status"}).out,
              AllOf(HasSubstr("w0"), HasSubstr("w1"), HasSubstr("idle")));
  const CommandResult doctor = cluster.Neolog({"doctor"});
  EXPECT_TRUE(doctor.exit.success()) << doctor.out;
  ASSERT_TRUE(cluster.Neolog({"down"}).exit.success());
  for (const auto& [id, pid] : workers) EXPECT_FALSE(FindProcess(pid).has_value()) << id;
  EXPECT_EQ(cluster.Neolog({"status"}).exit.code, 3);
}

TEST(TrainTest, SecondRunIntoTheSameFolder_IsRefusedBeforeAnythingStarts) {
  LocalClusterForTest cluster;
  const std::string file = cluster.RunFile("zesko", 2);
  ASSERT_TRUE(cluster.Neolog({"train", file, "--workers", "1"}).exit.success());
  const std::string before = cluster.EmbeddingBytes("zesko");
  const CommandResult again = cluster.Neolog({"train", file, "--workers", "1"});
  EXPECT_EQ(again.exit.code, 2);
  EXPECT_THAT(again.err, AllOf(HasSubstr("checkpoint.log_dir"), HasSubstr("holds another run"),
                               HasSubstr("neolog resume")));
  EXPECT_EQ(cluster.EmbeddingBytes("zesko"), before);
}

}  // namespace
}  // namespace neolog
