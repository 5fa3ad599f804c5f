// The demo's own run, exactly as `make demo` trains it, under attack: other numbers of workers,
// processes killed and stopped at random, pauses, a neighbour in the same pack. The bytes of both
// embedding files must stay what one undisturbed run gave, and the journal must have every step
// once. The figures that it prints are measured, never judged. --gtest_random_seed=N makes it
// another attack.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <optional>
#include <random>
#include <set>

#include "common/base/process.h"
#include "tests/integration/local_cluster.h"
#include "tests/support/paths.h"

namespace neolog {
namespace {

using ::neolog::testing::Commit;
using ::neolog::testing::CommitsOf;
using ::neolog::testing::CountRosters;
using ::neolog::testing::LocalClusterForTest;
using ::neolog::testing::Records;
using ::neolog::testing::RunIdOf;
using ::neolog::testing::Sharing;
using ::neolog::testing::SharingOf;
using ::neolog::testing::WhyNotEveryStepOnce;
using ::testing::Contains;
using Steady = std::chrono::steady_clock;

constexpr char kRun[] = "zesko";
constexpr uint64_t kSteps = 350;  // configs/demo/demo.yaml

CommandResult Train(LocalClusterForTest& cluster, int workers) {
  std::vector<std::string> args = cluster.DemoRun(workers);
  args.insert(args.begin(), "train");
  return cluster.Neolog(args);
}

/// The embedding files of a run that nothing happens to, with the number of workers that the demo
/// has.
const std::string& UndisturbedBytes() {
  static const std::string bytes = [] {
    LocalClusterForTest cluster;
    const CommandResult result = Train(cluster, 2);
    EXPECT_TRUE(result.exit.success()) << result.err;
    return cluster.EmbeddingBytes(kRun);
  }();
  return bytes;
}

/// The run of this cluster ended as an undisturbed one; the cluster is taken down, and its journal
/// is returned.
Records ExpectUndisturbedEnd(LocalClusterForTest& cluster) {
  const CommandResult waited = cluster.Neolog({"wait", kRun});
  EXPECT_TRUE(waited.exit.success()) << waited.err;
  const std::string bytes = cluster.EmbeddingBytes(kRun);
  EXPECT_FALSE(bytes.empty());
  // Not EXPECT_EQ, which would print kilobytes.
  EXPECT_TRUE(bytes == UndisturbedBytes())
      << "the embedding files differ from those of the undisturbed run";
  Records records = cluster.DownAndJournal();
  EXPECT_EQ(WhyNotEveryStepOnce(records, RunIdOf(records, kRun), kSteps), "");
  return records;
}

/// With how many members the run's steps were taken.
std::set<int> TeamSizes(const Records& records) {
  std::set<int> sizes;
  for (const Commit& commit : CommitsOf(records, RunIdOf(records, kRun))) {
    sizes.insert(commit.under.roster().members_size());
  }
  return sizes;
}

/// A team and its processes, from one look at the cluster.
struct Team {
  v1::Roster roster;
  std::vector<ProcessId> processes;  // by rank; {} where the process is gone
};

Team TeamOf(LocalClusterForTest& cluster) {
  Team team;
  const v1::GetStatusResponse status = cluster.watch().Status();
  for (const v1::RunInfo& run : status.runs()) {
    if (run.spec().name() == kRun) team.roster = run.roster();
  }
  for (const v1::RosterMember& member : team.roster.members()) {
    ProcessId& process = team.processes.emplace_back();
    for (const v1::WorkerInfo& worker : status.workers()) {
      if (worker.worker().worker_id() != member.worker().worker_id()) continue;
      process = FindProcess(static_cast<pid_t>(worker.process_id())).value_or(ProcessId{});
    }
  }
  return team;
}

/// The process of a random member of the run's team, waiting until there is one.
ProcessId RandomMember(LocalClusterForTest& cluster, std::mt19937& random) {
  ProcessId member;
  EXPECT_TRUE(cluster.watch().Wait([&] {
    const Team team = TeamOf(cluster);
    if (team.processes.empty()) return false;
    member = team.processes[random() % team.processes.size()];
    return member.pid > 1;
  }));
  return member;
}

class AnyNumberOfWorkersTest : public ::testing::TestWithParam<int> {};

TEST_P(AnyNumberOfWorkersTest, GivesTheSameBytes) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  LocalClusterForTest cluster;
  const CommandResult result = Train(cluster, GetParam());
  ASSERT_TRUE(result.exit.success()) << result.err;
  const Records records = ExpectUndisturbedEnd(cluster);
  EXPECT_THAT(TeamSizes(records), Contains(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(DemoAttackTest, AnyNumberOfWorkersTest, ::testing::Values(1, 2, 3, 4));

TEST(DemoAttackTest, TheDemosScript_GivesTheSameBytes) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  const testing::ScopedDir dir;
  SpawnOptions options;
  options.argv = {testing::SourcePath("configs/demo/run_demo.sh"), testing::ProgramPath("."),
                  dir.File("out")};
  options.env = {{"TMPDIR", dir.path()}, {"NEOLOG_DEMO_WORKERS", "3"}};
  const auto result = RunCommand(options, absl::Minutes(20));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->exit.success()) << result->out << result->err;
  const std::string stem = dir.File("out/zesko/zesko");
  const std::string bytes =
      testing::ReadFileOrDie(stem + ".pt") + testing::ReadFileOrDie(stem + ".safetensors");
  EXPECT_TRUE(bytes == UndisturbedBytes());
}

/// One act of violence: after this step.
struct Blow {
  uint64_t step;
  enum { kWorker, kCoordinator, kBoth } at;
};

/// Twenty workers and three coordinators at random steps, at least one step apart; one of the
/// workers dies while the coordinator is away.
std::vector<Blow> PlanOfAttack(std::mt19937& random) {
  std::vector<Blow> plan;
  for (int i = 0; i < 19; ++i) plan.push_back({0, Blow::kWorker});
  plan.insert(plan.end(), {{0, Blow::kCoordinator}, {0, Blow::kCoordinator}, {0, Blow::kBoth}});
  std::shuffle(plan.begin(), plan.end(), random);
  std::set<uint64_t> steps;
  while (steps.size() < plan.size()) steps.insert(3 + random() % 320);
  auto step = steps.begin();
  for (Blow& blow : plan) blow.step = *step++;
  return plan;
}

TEST(DemoAttackTest, TwentyKilledWorkersAndThreeKilledCoordinators_ChangeNothing) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  const unsigned seed = 2027 + static_cast<unsigned>(GTEST_FLAG_GET(random_seed));
  std::mt19937 random(seed);
  LocalClusterForTest cluster;
  cluster.Submit(cluster.DemoRun(4));
  int workers = 0, coordinators = 0;
  for (const Blow& blow : PlanOfAttack(random)) {
    ASSERT_TRUE(cluster.watch().WaitStep(kRun, blow.step));
    ProcessId worker;
    if (blow.at != Blow::kCoordinator) worker = RandomMember(cluster, random);
    ASSERT_LT(cluster.watch().StepOf(kRun), kSteps) << "the run ended before the attack";
    if (blow.at != Blow::kWorker) {
      cluster.KillCoordinator();
      ++coordinators;
    }
    if (blow.at != Blow::kCoordinator) {
      ASSERT_TRUE(SignalProcess(worker, SIGKILL).ok());
      ++workers;
    }
    if (blow.at != Blow::kWorker) {
      ASSERT_TRUE(cluster.WaitForNewCoordinator());
    }
  }
  EXPECT_EQ(workers, 20);
  EXPECT_EQ(coordinators, 3);
  const Records records = ExpectUndisturbedEnd(cluster);
  std::string sizes;
  for (const int size : TeamSizes(records)) sizes += fmt::format(" {}", size);
  fmt::print(
      "20 workers and 3 coordinators killed (seed {}): {} rosters, {} commits, steps taken by "
      "teams of{}\n",
      seed, CountRosters(records), CommitsOf(records, RunIdOf(records, kRun)).size(), sizes);
  EXPECT_GE(CountRosters(records), 20);
}

TEST(DemoAttackTest, PausesAndOtherNumbersOfWorkers_ChangeNothing) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  LocalClusterForTest cluster;
  cluster.Submit(cluster.DemoRun(1));
  uint64_t paused_at = 0;
  for (const int next : {3, 2}) {
    ASSERT_TRUE(cluster.watch().WaitStep(kRun, paused_at + 80));
    const CommandResult paused = cluster.Neolog({"pause", kRun});
    ASSERT_TRUE(paused.exit.success()) << paused.err;
    ASSERT_EQ(cluster.Neolog({"wait", kRun}).exit.code, 75);
    paused_at = cluster.watch().StepOf(kRun);
    ASSERT_LT(paused_at, kSteps);
    const CommandResult resumed =
        cluster.Neolog({"resume", kRun, "--workers", std::to_string(next), "--detach"});
    ASSERT_TRUE(resumed.exit.success()) << resumed.err;
    // Workers that were just started join one by one.
    ASSERT_TRUE(cluster.watch().Wait(
        [&] { return cluster.watch().Run(kRun).roster().members_size() == next; }));
  }
  const Records records = ExpectUndisturbedEnd(cluster);
  EXPECT_THAT(TeamSizes(records), ::testing::IsSupersetOf({1, 2, 3}));
}

/// Whether a worker is killed while the two share their pack.
class NeighbourInThePackTest : public ::testing::TestWithParam<bool> {};

TEST_P(NeighbourInThePackTest, ChangesNothing) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  constexpr uint64_t kNeighbourSteps = 200;  // it leaves the pack before the end
  std::mt19937 random(5 + static_cast<unsigned>(GTEST_FLAG_GET(random_seed)));
  LocalClusterForTest cluster;
  // Runs that wait in the queue together are packed: a third one holds the workers until both are
  // there.
  cluster.Submit(cluster.DemoNeighbour("first", "wimbra", 2, 100000));
  ASSERT_TRUE(
      cluster.watch().WaitStep("first", 1));  // while it waits itself, it would be packed too
  std::vector<std::string> neighbour =
      cluster.DemoNeighbour("neighbour", "wimbra", 2, kNeighbourSteps);
  neighbour.insert(neighbour.end(), {"--set", "training.batch_size=3", "--set", "training.seed=9"});
  cluster.Submit(neighbour);
  cluster.Submit(cluster.DemoRun(2));
  const CommandResult stopped = cluster.Neolog({"stop", "first"});
  ASSERT_TRUE(stopped.exit.success()) << stopped.err;
  if (GetParam()) {
    ASSERT_TRUE(cluster.watch().WaitStep(kRun, 60));
    ASSERT_TRUE(SignalProcess(RandomMember(cluster, random), SIGKILL).ok());
    ASSERT_LT(cluster.watch().StepOf(kRun), kNeighbourSteps);
  }
  const Records records = ExpectUndisturbedEnd(cluster);
  const std::string other = RunIdOf(records, "neighbour");
  EXPECT_EQ(WhyNotEveryStepOnce(records, other, kNeighbourSteps), "");
  const Sharing sharing = SharingOf(records, other, RunIdOf(records, kRun));
  // At a change of the roster the last steps of one may be committed before it and those of the
  // other behind it.
  if (GetParam()) {
    EXPECT_GE(sharing.steps, kNeighbourSteps / 2);
  } else {
    EXPECT_EQ(sharing.steps, kNeighbourSteps);
  }
  EXPECT_GE(sharing.turns, 10);
}

INSTANTIATE_TEST_SUITE_P(DemoAttackTest, NeighbourInThePackTest, ::testing::Bool());

/// Waits for a team of three that certainly steps; nothing when the run comes so far that what is
/// done to it might meet its end.
std::optional<Team> WaitForThree(LocalClusterForTest& cluster) {
  constexpr uint64_t kLast = 230;
  v1::RunInfo run;
  const bool came = cluster.watch().Wait([&] {
    run = cluster.watch().Run(kRun);
    return run.step() > kLast || run.roster().members_size() == 3;
  });
  EXPECT_TRUE(came);
  if (!came || run.step() > kLast || !cluster.watch().WaitForNewSteps(kRun)) return std::nullopt;
  return TeamOf(cluster);
}

/// Does something to one random worker of three, again and again, in as many runs of the demo as
/// that takes. Every time the others must step again in the processes that they had, and so with
/// the model that they had loaded; every run must end as if nothing had been. Prints how long the
/// others needed. `after` sees the team as it was and the rank that was hit.
void Disturb(int times, unsigned seed, int signal,
             const std::function<void(LocalClusterForTest&, const Team&, int rank)>& after) {
  ASSERT_FALSE(UndisturbedBytes().empty());
  std::mt19937 random(seed + static_cast<unsigned>(GTEST_FLAG_GET(random_seed)));
  std::vector<double> seconds;
  int runs = 0;
  while (seconds.size() < static_cast<size_t>(times)) {
    LocalClusterForTest cluster;
    cluster.Submit(cluster.DemoRun(3));
    ++runs;
    const size_t before = seconds.size();
    while (seconds.size() < static_cast<size_t>(times)) {
      const auto three = WaitForThree(cluster);
      if (!three) break;
      ASSERT_EQ(three->processes.size(), 3u);
      const int victim = static_cast<int>(random() % 3);
      // A commit was just seen, so they are in the midst of a later step.
      const auto at = Steady::now();
      ASSERT_TRUE(SignalProcess(three->processes[victim], signal).ok());
      ASSERT_TRUE(cluster.watch().WaitUntilTheyStepAgain(kRun, three->roster));
      seconds.push_back(std::chrono::duration<double>(Steady::now() - at).count());
      for (int rank = 0; rank < 3; ++rank) {
        EXPECT_TRUE(rank == victim || IsAlive(three->processes[rank]))
            << "rank " << rank << " lost its process";
      }
      after(cluster, *three, victim);
      if (::testing::Test::HasFailure()) return;
    }
    ExpectUndisturbedEnd(cluster);
    ASSERT_GT(seconds.size(), before) << "a whole run without a team of three";
  }
  std::string all;
  for (const double s : seconds) all += fmt::format(" {:.2f}", s);
  std::sort(seconds.begin(), seconds.end());
  double load = 0;
  getloadavg(&load, 1);
  fmt::print(
      "{} of one of three to new steps committed: median {:.2f} s, worst {:.2f} s of {} in {} "
      "runs:{}; load {:.1f}\n",
      SignalName(signal), seconds[seconds.size() / 2], seconds.back(), seconds.size(), runs, all,
      load);
}

TEST(DemoAttackTest, KilledWorkerOfThree_TheOthersGoOnWithTheirModel) {
  Disturb(10, 11, SIGKILL, [](LocalClusterForTest&, const Team& three, int victim) {
    EXPECT_FALSE(IsAlive(three.processes[victim]));
  });
}

TEST(DemoAttackTest, StoppedWorkerOfThree_IsLeftBehind_AndComesBackAsANewIncarnation) {
  Disturb(5, 12, SIGSTOP, [](LocalClusterForTest& cluster, const Team& three, int victim) {
    const v1::WorkerIdentity& stopped = three.roster.members(victim).worker();
    const auto incarnation_in = [&](const v1::Roster& roster) -> std::optional<uint64_t> {
      for (const v1::RosterMember& member : roster.members()) {
        if (member.worker().worker_id() == stopped.worker_id())
          return member.worker().incarnation();
      }
      return std::nullopt;
    };
    EXPECT_FALSE(incarnation_in(cluster.watch().Run(kRun).roster()))
        << "a stopped worker is still in the roster";
    ASSERT_TRUE(SignalProcess(three.processes[victim], SIGCONT).ok());
    std::optional<uint64_t> now;
    ASSERT_TRUE(cluster.watch().Wait([&] {
      now = incarnation_in(cluster.watch().Run(kRun).roster());
      return now.has_value();
    }));
    EXPECT_NE(*now, stopped.incarnation());
    EXPECT_TRUE(IsAlive(three.processes[victim])) << "it kept its process, and with it the model";
  });
}

}  // namespace
}  // namespace neolog
