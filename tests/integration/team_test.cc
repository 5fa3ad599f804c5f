// A team under attack: the real coordinator, agent, session and peer collective as processes. The
// trainer has no model, and its state tells every sample that is missing, doubled, out of order or
// computed from another state.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <random>

#include "tests/integration/team_cluster.h"
#include "tests/worker/session/fake_trainer.h"

namespace neolog {
namespace {

using ::neolog::testing::CountRosters;
using ::neolog::testing::FakeFinalState;
using ::neolog::testing::Records;
using ::neolog::testing::TeamCluster;
using ::neolog::testing::WhyNotEveryStepOnce;

constexpr uint32_t kBatch = 6;

/// The run ended with the state of an undisturbed one.
void ExpectUndisturbedEnd(TeamCluster& cluster, const std::string& run, const std::string& name,
                          uint32_t steps) {
  std::string state;
  const v1::RunInfo info = cluster.Info(run, &state);
  EXPECT_EQ(info.state(), v1::RUN_STATE_COMPLETED) << info.reason();
  EXPECT_EQ(info.step(), steps);
  EXPECT_EQ(state == FakeFinalState(cluster.Spec(name, steps, kBatch, 0), steps), true)
      << "the final state differs";
}

/// The journal has every step of the run exactly once, in order. Returns the number of rosters.
int ExpectEveryStepOnce(TeamCluster& cluster, const std::string& run, uint32_t steps) {
  const Records records = cluster.Journal();
  EXPECT_EQ(WhyNotEveryStepOnce(records, run, steps), "");
  return CountRosters(records);
}

/// What the workers gather over, and how.
struct Transport {
  const char* name;
  const char* nccl;  // a libnccl, or empty
  const char* reduce;
};

class TeamTest : public ::testing::TestWithParam<Transport> {};

INSTANTIATE_TEST_SUITE_P(Over, TeamTest,
                         ::testing::Values(Transport{"Peers", "", "ordered"},
                                           Transport{"Nccl", NEOLOG_FAKE_NCCL, "ordered"},
                                           Transport{"NcclFast", NEOLOG_FAKE_NCCL, "fast"}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_P(TeamTest, OneTwoAndThreeWorkers_EndWithTheSameState) {
  for (const int workers : {1, 2, 3}) {
    TeamCluster cluster(GetParam().nccl, GetParam().reduce);
    cluster.StartCoordinator();
    for (int w = 0; w < workers; ++w) cluster.StartWorker(w, 500);
    const std::string run = cluster.Submit("zesko", 120, kBatch, workers);
    ASSERT_TRUE(cluster.WaitCompleted(run)) << cluster.WorkerLog(0);
    ExpectUndisturbedEnd(cluster, run, "zesko", 120);
    cluster.KillCoordinator();
    ExpectEveryStepOnce(cluster, run, 120);
    const bool over_nccl = *GetParam().nccl != '\0' && workers > 1;
    for (const auto& record : cluster.Journal()) {
      if (!record.has_roster_formed()) continue;
      EXPECT_EQ(record.roster_formed().roster().collective(), over_nccl ? "nccl" : "peer");
    }
  }
}

TEST_P(TeamTest, NewcomerWithoutTheModel_IsLeftOut_AndTheOthersGoOn) {
  TeamCluster cluster(GetParam().nccl, GetParam().reduce);
  cluster.StartCoordinator();
  cluster.StartWorker(0, 500);
  const std::string run = cluster.Submit("zesko", 1500, kBatch, 0);
  ASSERT_TRUE(cluster.WaitStep(run, 20)) << cluster.WorkerLog(0);
  cluster.StartWorker(1, 500, "no-model");
  ASSERT_TRUE(cluster.WaitCompleted(run)) << cluster.CoordinatorLog();
  ExpectUndisturbedEnd(cluster, run, "zesko", 1500);
  cluster.KillCoordinator();
  // Alone, with the newcomer, alone again: it was tried once.
  EXPECT_EQ(ExpectEveryStepOnce(cluster, run, 1500), 3);
}

TEST_P(TeamTest, OnlyTheRunAtFaultFails_AndItsPackmateEndsUndisturbed) {
  TeamCluster cluster(GetParam().nccl, GetParam().reduce);
  cluster.StartCoordinator();
  const std::string good = cluster.Submit("good", 120, kBatch, 2);
  const std::string bad = cluster.Submit("bad", 120, kBatch, 2);
  for (int w = 0; w < 2; ++w) cluster.StartWorker(w, 500, "bad-run=bad");
  ASSERT_TRUE(cluster.WaitCompleted(good)) << cluster.CoordinatorLog();
  ExpectUndisturbedEnd(cluster, good, "good", 120);
  const v1::RunInfo failed = cluster.Info(bad);
  EXPECT_EQ(failed.state(), v1::RUN_STATE_FAILED);
  EXPECT_EQ(failed.failure().kind(), v1::RunFailure::KIND_BAD_INPUT);
  EXPECT_THAT(failed.reason(), ::testing::HasSubstr("its prompts lack the word"));
}

TEST_P(TeamTest, KilledWorkersAndCoordinator_ChangeNothing) {
  constexpr uint32_t kSteps = 3000;
  std::mt19937 random(7);
  TeamCluster cluster(GetParam().nccl, GetParam().reduce);
  cluster.StartCoordinator();
  for (int w = 0; w < 3; ++w) cluster.StartWorker(w, 1000);
  const std::string run = cluster.Submit("zesko", kSteps, kBatch, 3);
  int worker_kills = 0, coordinator_kills = 0;
  std::vector<double> recoveries;
  for (int i = 1; i <= 13; ++i) {
    const uint64_t at = static_cast<uint64_t>(i) * kSteps / 15 + random() % 20;
    ASSERT_TRUE(cluster.WaitStep(run, at)) << cluster.CoordinatorLog();
    if (i % 4 == 0) {
      cluster.KillCoordinator();
      cluster.StartCoordinator();
      ++coordinator_kills;
      continue;
    }
    const int victim = static_cast<int>(random() % 3);
    const pid_t survivor = cluster.WorkerPid((victim + 1) % 3);
    // A worker that came back may still be on its way into the roster.
    ASSERT_TRUE(cluster.Wait([&] { return cluster.Info(run).roster().members_size() == 3; }))
        << cluster.CoordinatorLog();
    const v1::Roster roster = cluster.Info(run).roster();
    const auto killed = std::chrono::steady_clock::now();
    cluster.KillWorker(victim);
    ++worker_kills;
    ASSERT_TRUE(cluster.watch().WaitUntilTheyStepAgain(run, roster)) << cluster.CoordinatorLog();
    recoveries.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - killed).count());
    EXPECT_EQ(cluster.WorkerPid((victim + 1) % 3), survivor);
    EXPECT_TRUE(cluster.WorkerRuns((victim + 1) % 3))
        << "survivors keep their process, and with it the model";
    cluster.StartWorker(victim, 1000);
  }
  ASSERT_TRUE(cluster.WaitCompleted(run)) << cluster.CoordinatorLog();
  ExpectUndisturbedEnd(cluster, run, "zesko", kSteps);
  EXPECT_EQ(worker_kills, 10);
  EXPECT_EQ(coordinator_kills, 3);
  std::sort(recoveries.begin(), recoveries.end());
  fmt::print(
      "SIGKILL of a worker to new steps committed: median {:.3f} s, slowest {:.3f} s of {}\n",
      recoveries[recoveries.size() / 2], recoveries.back(), recoveries.size());
  cluster.KillCoordinator();
  const int rosters = ExpectEveryStepOnce(cluster, run, kSteps);
  EXPECT_GE(rosters, 10);
}

TEST_P(TeamTest, StoppedWorker_IsLeftBehind_AndComesBackAsANewIncarnation) {
  constexpr uint32_t kSteps = 2000;
  TeamCluster cluster(GetParam().nccl, GetParam().reduce);
  cluster.StartCoordinator();
  for (int w = 0; w < 3; ++w) cluster.StartWorker(w, 1000);
  const std::string run = cluster.Submit("zesko", kSteps, kBatch, 3);
  ASSERT_TRUE(cluster.WaitStep(run, 50)) << cluster.CoordinatorLog();
  const pid_t stopped = cluster.WorkerPid(1);
  const v1::Roster roster = cluster.Info(run).roster();
  cluster.SignalWorker(1, SIGSTOP);
  const auto at = std::chrono::steady_clock::now();
  ASSERT_TRUE(cluster.watch().WaitUntilTheyStepAgain(run, roster)) << cluster.CoordinatorLog();
  EXPECT_EQ(cluster.Info(run).roster().members_size(), 2);
  fmt::print("SIGSTOP of a worker to new steps committed: {:.3f} s\n",
             std::chrono::duration<double>(std::chrono::steady_clock::now() - at).count());
  cluster.SignalWorker(1, SIGCONT);
  ASSERT_TRUE(cluster.Wait([&] { return cluster.Info(run).roster().members_size() == 3; }))
      << cluster.CoordinatorLog();
  EXPECT_EQ(cluster.WorkerPid(1), stopped);
  EXPECT_TRUE(cluster.WorkerRuns(1));
  ASSERT_TRUE(cluster.WaitCompleted(run)) << cluster.CoordinatorLog();
  ExpectUndisturbedEnd(cluster, run, "zesko", kSteps);
  cluster.KillCoordinator();
  ExpectEveryStepOnce(cluster, run, kSteps);
}

TEST_P(TeamTest, PauseAndResumeOnFewerWorkers_ChangeNothing) {
  constexpr uint32_t kSteps = 600;
  TeamCluster cluster(GetParam().nccl, GetParam().reduce);
  cluster.StartCoordinator();
  for (int w = 0; w < 3; ++w) cluster.StartWorker(w, 1000);
  const std::string run = cluster.Submit("zesko", kSteps, kBatch, 3);
  ASSERT_TRUE(cluster.WaitStep(run, 50));
  cluster.Pause(run);
  ASSERT_TRUE(cluster.Wait([&] { return cluster.Info(run).state() == v1::RUN_STATE_PAUSED; }))
      << cluster.CoordinatorLog();
  const uint64_t paused_at = cluster.StepOf(run);
  EXPECT_LT(paused_at, kSteps);
  cluster.Resume(run, 2);
  ASSERT_TRUE(cluster.WaitCompleted(run)) << cluster.CoordinatorLog();
  ExpectUndisturbedEnd(cluster, run, "zesko", kSteps);
  cluster.KillCoordinator();
  ExpectEveryStepOnce(cluster, run, kSteps);
}

TEST_P(TeamTest, SigtermSaysGoodbye_AndTheOthersGoOn) {
  TeamCluster cluster(GetParam().nccl, GetParam().reduce);
  cluster.StartCoordinator();
  for (int w = 0; w < 2; ++w) cluster.StartWorker(w, 1000);
  const std::string run = cluster.Submit("zesko", 400, kBatch, 2);
  ASSERT_TRUE(cluster.WaitStep(run, 30));
  cluster.SignalWorker(1, SIGTERM);
  ASSERT_TRUE(cluster.Wait([&] { return cluster.Info(run).roster().members_size() == 1; }))
      << cluster.CoordinatorLog();
  EXPECT_THAT(cluster.Info(run).roster().reason(), ::testing::HasSubstr("SIGTERM"));
  ASSERT_TRUE(cluster.WaitCompleted(run));
  ExpectUndisturbedEnd(cluster, run, "zesko", 400);
}

// What the library of one member does to a team that gathers over NCCL: the others go on without
// it, in the same processes, and it comes back if it lives.
class NcclFaultTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(TeamTest, NcclFaultTest,
                         ::testing::Values("init_error@1", "system_error@1#40", "cuda_error@1#40",
                                           "die@1#40"));

TEST_P(NcclFaultTest, ChangesNothing) {
  constexpr uint32_t kSteps = 400;
  TeamCluster cluster(NEOLOG_FAKE_NCCL);
  cluster.StartCoordinator();
  // Ranks go by names at first, and by who came last afterwards: the fault strikes once.
  for (int w = 0; w < 3; ++w) cluster.StartWorker(w, 1000, "", w == 1 ? GetParam() : "");
  const std::string run = cluster.Submit("zesko", kSteps, kBatch, 3);
  const pid_t survivor = cluster.WorkerPid(0);
  ASSERT_TRUE(cluster.WaitCompleted(run)) << cluster.CoordinatorLog();
  ExpectUndisturbedEnd(cluster, run, "zesko", kSteps);
  EXPECT_EQ(cluster.WorkerPid(0), survivor);
  EXPECT_TRUE(cluster.WorkerRuns(0));
  cluster.KillCoordinator();
  EXPECT_GE(ExpectEveryStepOnce(cluster, run, kSteps), 2);
}

}  // namespace
}  // namespace neolog
