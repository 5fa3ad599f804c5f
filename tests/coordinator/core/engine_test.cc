#include "coordinator/core/engine.h"

#include <gtest/gtest.h>

#include "common/base/hash.h"
#include "coordinator/core/apply.h"
#include "tests/coordinator/core/fixtures.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using ::neolog::testing::StatusIs;
using testing::Cluster;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeIdentity;
using testing::MakeRegister;
using testing::MakeSpec;
using testing::MakeState;

/// Heartbeats of everyone while the clock moves.
void Live(Cluster& cluster, absl::Duration by, const std::vector<std::string>& ids) {
  for (absl::Duration done; done < by; done += absl::Milliseconds(100)) {
    for (const std::string& id : ids) cluster.Heartbeat(id);
    cluster.Advance(absl::Milliseconds(100));
  }
}

/// Two workers that train one run of 100 steps.
struct Pair {
  Cluster cluster;
  std::string run;
  explicit Pair(uint32_t workers = 2) {
    cluster.Join("w0");
    cluster.Join("w1");
    run = cluster.Submit(MakeSpec("zesko", 100, workers));
    cluster.Take("w0");
    cluster.Take("w1");
  }
};

template <typename Predicate>
int CountIf(const std::vector<v1::CoordinatorMessage>& messages, Predicate predicate) {
  return static_cast<int>(std::count_if(messages.begin(), messages.end(), predicate));
}

TEST(Engine, Submit_AssignsEveryMemberTheSameThing) {
  Cluster cluster;
  cluster.Join("w0");
  cluster.Join("w1");
  const std::string run = cluster.Submit(MakeSpec("zesko", 100, 2));
  EXPECT_EQ(cluster.run(run).state, v1::RUN_STATE_RUNNING);
  const v1::Assignment first = cluster.TakeAssignment("w0");
  EXPECT_EQ(first.SerializeAsString(), cluster.TakeAssignment("w1").SerializeAsString());
  EXPECT_EQ(first.roster().version(), 1u);
  ASSERT_EQ(first.runs_size(), 1);
  EXPECT_EQ(first.runs(0).run_id(), run);
  EXPECT_EQ(first.runs(0).committed_step(), 0u);
  EXPECT_EQ(first.profile().instruction_set(), "AVX512");
  EXPECT_THAT(cluster.Members(), ElementsAre("w0", "w1"));
}

TEST(Engine, Commit_ReachesEveryMemberAndKeepsTheState) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 7);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 7u);
  for (const char* id : {"w0", "w1"}) {
    const auto messages = pair.cluster.Take(id);
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].committed().step(), 7u);
    EXPECT_EQ(messages[0].committed().state_hash(), Hash64(MakeState(7)));
  }
  pair.cluster.Commit("w0", pair.run, 5, 9);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 9u);
  ASSERT_EQ(pair.cluster.states().size(), 1u) << "the earlier state is dropped";
  EXPECT_EQ(pair.cluster.states().begin()->second, MakeState(9));
}

TEST(Engine, CommitWithAGap_IsAnsweredWithWhereTheJournalStands) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 3);
  pair.cluster.Take("w0");
  pair.cluster.Commit("w0", pair.run, 6, 8);
  const auto messages = pair.cluster.Take("w0");
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].committed().step(), 3u);
}

TEST(Engine, ContradictingCommit_FailsTheRunAndKeepsTheCommittedState) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 3);
  pair.cluster.Take("w1");
  pair.cluster.Commit("w1", pair.run, 2, 5, /*flavour=*/1);
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_FAILED);
  EXPECT_EQ(pair.cluster.run(pair.run).failure.kind(), v1::RunFailure::KIND_DIVERGED);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 3u);
  const auto messages = pair.cluster.Take("w1");
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages[0].refused().code(), v1::Refused::CODE_DIVERGED);
  EXPECT_EQ(messages.back().assignment().runs_size(), 0) << "idle";
}

TEST(Engine, LastStep_CompletesAndTheTeamGoesWhenEveryMemberIsDone) {
  Pair pair;
  pair.cluster.Report("w1", "done", "", {100});
  pair.cluster.Commit("w0", pair.run, 1, 100);
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_COMPLETED);
  EXPECT_TRUE(pair.cluster.has_team()) << "w0 may still draw its previews";
  pair.cluster.Report("w0", "done", "", {100});
  EXPECT_FALSE(pair.cluster.has_team());
  EXPECT_EQ(pair.cluster.Take("w0").back().assignment().runs_size(), 0);
}

TEST(Engine, MemberDiesAfterTheLastStep_TheTeamStillGoes) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 100);
  pair.cluster.Report("w0", "done", "", {100});
  pair.cluster.Hangup("w1");
  pair.cluster.Advance(absl::Milliseconds(300));
  EXPECT_FALSE(pair.cluster.has_team());
}

TEST(Engine, SilentWorker_IsLostAtItsLeaseAndTheSurvivorGoesOn) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 7);
  Live(pair.cluster, absl::Milliseconds(900), {"w0"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1")) << "its lease lives";
  pair.cluster.Take("w0");
  Live(pair.cluster, absl::Milliseconds(200), {"w0"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
  const v1::Assignment assignment = pair.cluster.TakeAssignment("w0");
  EXPECT_EQ(assignment.roster().version(), 2u);
  EXPECT_EQ(assignment.runs(0).committed_step(), 7u);
  EXPECT_EQ(assignment.runs(0).committed_state(), MakeState(7));
  EXPECT_THAT(assignment.roster().reason(), HasSubstr("lost 'w1': no heartbeat for 1.0"));
  const auto messages = pair.cluster.Take("w1");
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages.back().refused().code(), v1::Refused::CODE_STALE_INCARNATION)
      << "for when it wakes up";
}

TEST(Engine, WokenWorker_ComesBackAsANewIncarnationAndJoins) {
  Pair pair;
  Live(pair.cluster, absl::Milliseconds(1100), {"w0"});
  ASSERT_THAT(pair.cluster.Members(), ElementsAre("w0"));
  pair.cluster.Join("w1", 1);
  EXPECT_EQ(pair.cluster.Take("w1").back().refused().code(), v1::Refused::CODE_STALE_INCARNATION);
  pair.cluster.Take("w0");
  pair.cluster.Join("w1", 2);
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  EXPECT_EQ(pair.cluster.TakeAssignment("w0").roster().version(), 3u);
  EXPECT_EQ(pair.cluster.TakeAssignment("w1").roster().version(), 3u);
}

TEST(Engine, ClosedStreamAndAPeersComplaint_LoseAWorkerAtOnceInEitherOrder) {
  for (const bool stream_first : {true, false}) {
    Pair pair;
    if (stream_first) {
      pair.cluster.Hangup("w1");
      EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
      pair.cluster.Complain("w0", "w1");
    } else {
      pair.cluster.Complain("w0", "w1");
      EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
      pair.cluster.Hangup("w1");
    }
    EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0")) << stream_first;
    EXPECT_EQ(pair.cluster.TakeAssignment("w0").roster().version(), 2u);
  }
}

TEST(Engine, ClosedStreamAlone_LeavesAQuarterOfASecondToComeBack) {
  Pair pair;
  pair.cluster.Hangup("w1");
  pair.cluster.Advance(absl::Milliseconds(200));
  v1::Register info = MakeRegister();
  info.mutable_held()->set_team_id("team-1");
  info.mutable_held()->set_roster_version(1);
  pair.cluster.Join("w1", 1, info);
  EXPECT_EQ(CountIf(pair.cluster.Take("w1"), [](const auto& m) { return m.has_assignment(); }), 0)
      << "it holds the current assignment";
  Live(pair.cluster, absl::Seconds(2), {"w0", "w1"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  EXPECT_EQ(pair.cluster.team().roster.version(), 1u);

  pair.cluster.Hangup("w1");
  pair.cluster.Advance(absl::Milliseconds(260));
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
}

TEST(Engine, BrokenLinkBetweenLiveWorkers_MakesNewLinksAndInTheEndRemovesTheAccused) {
  Pair pair;
  for (uint64_t version = 2; version <= 4; ++version) {
    pair.cluster.Complain("w0", "w1");
    Live(pair.cluster, absl::Milliseconds(400), {"w0", "w1"});
    EXPECT_EQ(pair.cluster.team().roster.version(), version);
    EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  }
  pair.cluster.Complain("w0", "w1");
  Live(pair.cluster, absl::Milliseconds(400), {"w0", "w1"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
  Live(pair.cluster, absl::Seconds(1), {"w0", "w1"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"))
      << "the incarnation is barred from this team";
}

TEST(Engine, WorkerThatComplainsAboutItself_IsTriedAgainAndInTheEndRemoved) {
  Pair pair;
  for (int time = 0; time < 4; ++time) {
    EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
    pair.cluster.Complain("w1", "w1");
    Live(pair.cluster, absl::Milliseconds(400), {"w0", "w1"});
    EXPECT_THAT(pair.cluster.team().roster.reason(), HasSubstr("'w1' cannot gather"));
  }
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
}

TEST(Engine, ComplaintAboutASilentWorker_LeavesItToItsLease) {
  Pair pair;
  Live(pair.cluster, absl::Milliseconds(100), {"w0", "w1"});
  pair.cluster.Complain("w0", "w1");
  Live(pair.cluster, absl::Milliseconds(800), {"w0"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  EXPECT_EQ(pair.cluster.team().roster.version(), 1u);
  Live(pair.cluster, absl::Milliseconds(300), {"w0"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
}

TEST(Engine, EveryWorkerLost_TheRunIsQueuedWithItsState) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 12);
  pair.cluster.Hangup("w0");
  pair.cluster.Hangup("w1");
  pair.cluster.Advance(absl::Milliseconds(300));
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_QUEUED);
  EXPECT_FALSE(pair.cluster.has_team());
  pair.cluster.Join("w5");
  pair.cluster.Advance(absl::Milliseconds(600));
  pair.cluster.Heartbeat("w5", "idle");
  const v1::Assignment assignment = pair.cluster.TakeAssignment("w5");
  ASSERT_EQ(assignment.runs_size(), 1);
  EXPECT_EQ(assignment.runs(0).committed_step(), 12u);
  EXPECT_EQ(assignment.runs(0).committed_hash(), Hash64(MakeState(12)));
  EXPECT_EQ(assignment.roster().version(), 1u);
  EXPECT_EQ(assignment.team_id(), "team-2");
}

TEST(Engine, Newcomer_JoinsWhereTheRunAllowsIt) {
  Pair all(0);
  all.cluster.Advance(absl::Milliseconds(600));
  ASSERT_THAT(all.cluster.Members(), ElementsAre("w0", "w1"));
  all.cluster.Join("a");
  EXPECT_THAT(all.cluster.Members(), ElementsAre("w0", "w1", "a"))
      << "behind the others, whatever its id";
  Pair two(2);
  two.cluster.Join("a");
  EXPECT_THAT(two.cluster.Members(), ElementsAre("w0", "w1"));
}

TEST(Engine, NewcomerOfAnotherProfile_StaysIdleWithReason) {
  Pair pair(0);
  pair.cluster.Advance(absl::Milliseconds(600));
  pair.cluster.Join("a", 1, MakeRegister(1, "AVX2"));
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  const v1::GetStatusResponse status = pair.cluster.engine().Status(pair.cluster.now());
  ASSERT_EQ(status.workers(0).worker().worker_id(), "a");
  EXPECT_THAT(status.workers(0).reason(),
              HasSubstr("instruction set is 'AVX2', the run is bound to 'AVX512'"));
}

TEST(Engine, StaleMessages_AreRefusedByType) {
  Pair pair;
  v1::WorkerMessage message;
  *message.mutable_worker() = MakeIdentity("w0", 99);
  message.mutable_heartbeat();
  pair.cluster.Absorb(
      pair.cluster.engine().OnMessage(pair.cluster.now(), pair.cluster.link("w0"), message));
  EXPECT_EQ(pair.cluster.Take("w0").back().refused().code(), v1::Refused::CODE_STALE_INCARNATION);

  v1::WorkerMessage stale;
  *stale.mutable_commit() = testing::MakeCommit("team-1", 9, pair.run, 1, 2);
  pair.cluster.Say("w1", stale);
  EXPECT_EQ(pair.cluster.Take("w1").back().refused().code(), v1::Refused::CODE_STALE_ROSTER);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 0u);
}

TEST(Engine, Pause_TakesEffectWhenTheLastCommitIsIn) {
  Pair pair;
  ASSERT_OK(pair.cluster.Pause(pair.run));
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_PAUSING);
  for (const char* id : {"w0", "w1"}) {
    const auto messages = pair.cluster.Take(id);
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(messages[0].control().action(), v1::ControlRequest::ACTION_PAUSE);
  }
  pair.cluster.Report("w1", "done", "", {9});
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_PAUSING)
      << "step 9 is not committed yet";
  pair.cluster.Commit("w0", pair.run, 1, 9);
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_PAUSED);
  pair.cluster.Report("w0", "done", "", {9});
  EXPECT_FALSE(pair.cluster.has_team());

  ASSERT_OK(pair.cluster.Resume(pair.run, 1));
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
  EXPECT_EQ(pair.cluster.TakeAssignment("w0").runs(0).committed_step(), 9u);
}

TEST(Engine, PauseWhileTheTeamRegroups_IsSentAgainWithTheNewAssignment) {
  Pair pair;
  ASSERT_OK(pair.cluster.Pause(pair.run));
  pair.cluster.Take("w0");
  pair.cluster.Hangup("w1");
  pair.cluster.Advance(absl::Milliseconds(300));
  const auto messages = pair.cluster.Take("w0");
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(messages[0].has_assignment());
  EXPECT_EQ(messages[1].control().action(), v1::ControlRequest::ACTION_PAUSE);
  pair.cluster.Hangup("w0");
  pair.cluster.Advance(absl::Milliseconds(300));
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_PAUSED) << "nobody is left to train it";
}

TEST(Engine, Stop_OfQueuedAndRunningRuns) {
  Cluster cluster;
  const std::string queued = cluster.Submit(MakeSpec());
  ASSERT_OK(cluster.Stop(queued));
  EXPECT_EQ(cluster.run(queued).state, v1::RUN_STATE_STOPPED);
  Pair pair;
  ASSERT_OK(pair.cluster.Stop(pair.run));
  pair.cluster.Commit("w0", pair.run, 1, 5);
  pair.cluster.Report("w0", "done", pair.run, {5});
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_STOPPED);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 5u);
}

TEST(Engine, RunsOfAPack_LeaveItOnTheirOwn) {
  Cluster cluster;
  v1::RunSpec other = MakeSpec("other", 50);
  const std::string a = cluster.Submit(MakeSpec("zesko", 100));
  const std::string b = cluster.Submit(other);
  cluster.Join("w0");
  cluster.Advance(absl::Milliseconds(600));
  ASSERT_EQ(cluster.TakeAssignment("w0").runs_size(), 2);
  cluster.Commit("w0", b, 1, 50);
  EXPECT_EQ(cluster.run(b).state, v1::RUN_STATE_COMPLETED);
  EXPECT_EQ(cluster.run(a).state, v1::RUN_STATE_RUNNING);
  ASSERT_OK(cluster.Pause(a));
  cluster.Commit("w0", a, 1, 60);
  cluster.Report("w0", "done", a, {60, 50});
  EXPECT_EQ(cluster.run(a).state, v1::RUN_STATE_PAUSED);
  cluster.Report("w0", "done");
  EXPECT_FALSE(cluster.has_team());
}

TEST(Engine, RosterChangeInAPack_AssignsOnlyTheRunsThatAreLeft) {
  Cluster cluster;
  const std::string a = cluster.Submit(MakeSpec("zesko", 100));
  const std::string b = cluster.Submit(MakeSpec("other", 50));
  cluster.Join("w0");
  cluster.Join("w1");
  cluster.Advance(absl::Milliseconds(600));
  cluster.Commit("w0", b, 1, 50);
  cluster.Take("w0");
  cluster.Hangup("w1");
  cluster.Advance(absl::Milliseconds(300));
  const v1::Assignment assignment = cluster.TakeAssignment("w0");
  ASSERT_EQ(assignment.runs_size(), 1);
  EXPECT_EQ(assignment.runs(0).run_id(), a);
}

TEST(Engine, NotFiniteStep_FailsTheRunAndStillTakesTheGoodSteps) {
  Pair pair;
  v1::RunFailure failure;
  failure.set_kind(v1::RunFailure::KIND_NOT_FINITE);
  failure.set_step(8);
  failure.set_message("loss is NaN in step 8");
  pair.cluster.Report("w1", "failed", pair.run, {}, failure);
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_FAILED);
  pair.cluster.Commit("w0", pair.run, 1, 7);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 7u);
  pair.cluster.Report("w0", "done");
  pair.cluster.Report("w1", "done");
  EXPECT_FALSE(pair.cluster.has_team());
  EXPECT_THAT(pair.cluster.run(pair.run).reason, HasSubstr("loss is NaN in step 8 (worker 'w1')"));
  ASSERT_OK(pair.cluster.Resume(pair.run));
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_RUNNING);
}

TEST(Engine, DeviceFailureOfOneMember_LeavesTheRunToTheOthers) {
  Pair pair(0);
  pair.cluster.Advance(absl::Milliseconds(600));
  v1::RunFailure failure;
  failure.set_kind(v1::RunFailure::KIND_DEVICE);
  failure.set_message("out of memory");
  pair.cluster.Report("w1", "failed", "", {}, failure);
  EXPECT_EQ(pair.cluster.run(pair.run).state, v1::RUN_STATE_RUNNING);
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
  EXPECT_EQ(pair.cluster.TakeAssignment("w1").runs_size(), 0);
}

TEST(Engine, Latents_FirstReportWinsAndIsAssigned) {
  Pair pair;
  const auto report = [&](const std::string& id, const std::string& digest) {
    v1::WorkerMessage message;
    message.mutable_latent()->set_key("picture-1");
    message.mutable_latent()->set_blob_digest(digest);
    pair.cluster.Say(id, message);
  };
  report("w1", "first");
  EXPECT_EQ(pair.cluster.Take("w0").back().latent().blob_digest(), "first");
  report("w0", "second");
  EXPECT_EQ(pair.cluster.Take("w0").back().latent().blob_digest(), "first");
  pair.cluster.Hangup("w1");
  pair.cluster.Advance(absl::Milliseconds(300));
  const v1::Assignment assignment = pair.cluster.TakeAssignment("w0");
  ASSERT_EQ(assignment.latents_size(), 1);
  EXPECT_EQ(assignment.latents(0).blob_digest(), "first");
}

TEST(Engine, LatentAskedFor_IsToldWhereAnybodyHasIt_AndNothingIsChosenByAsking) {
  Pair pair;
  const auto say = [&](const std::string& id, const std::string& digest) {
    v1::WorkerMessage message;
    message.mutable_latent()->set_key("picture-1");
    message.mutable_latent()->set_blob_digest(digest);
    pair.cluster.Say(id, message);
  };
  say("w0", "");
  const v1::CoordinatorMessage nobody = pair.cluster.Take("w0").back();
  ASSERT_TRUE(nobody.has_latent());
  EXPECT_EQ(nobody.latent().key(), "picture-1");
  EXPECT_EQ(nobody.latent().blob_digest(), "");
  EXPECT_TRUE(pair.cluster.engine().state().latents.empty());
  say("w1", "first");
  say("w0", "");
  EXPECT_EQ(pair.cluster.Take("w0").back().latent().blob_digest(), "first");
}

TEST(Engine, Restart_WorkersComeBackAndNothingIsReassigned) {
  Pair pair;
  pair.cluster.Commit("w0", pair.run, 1, 7);
  const std::string before = DescribeDurable(pair.cluster.engine().state());
  pair.cluster.Restart();
  EXPECT_EQ(DescribeDurable(pair.cluster.engine().state()), before);
  EXPECT_EQ(pair.cluster.run(pair.run).committed_state, MakeState(7));
  pair.cluster.Advance(absl::Seconds(3));
  v1::Register info = MakeRegister();
  info.mutable_held()->set_team_id("team-1");
  info.mutable_held()->set_roster_version(1);
  info.mutable_held()->set_phase("stepping");
  for (const char* id : {"w0", "w1"}) {
    pair.cluster.Join(id, 1, info);
    const auto messages = pair.cluster.Take(id);
    EXPECT_EQ(CountIf(messages, [](const auto& m) { return m.has_assignment(); }), 0);
    EXPECT_EQ(messages.back().committed().step(), 7u) << "so that buffered records can be dropped";
  }
  pair.cluster.Commit("w0", pair.run, 5, 30);
  EXPECT_EQ(pair.cluster.run(pair.run).committed(), 30u);
  Live(pair.cluster, absl::Seconds(6), {"w0", "w1"});
  EXPECT_EQ(pair.cluster.team().roster.version(), 1u);
}

TEST(Engine, Restart_MemberThatDoesNotComeBackIsLostAfterTheGrace) {
  Pair pair;
  pair.cluster.Restart();
  pair.cluster.Join("w0", 1);
  Live(pair.cluster, absl::Milliseconds(4900), {"w0"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  Live(pair.cluster, absl::Milliseconds(200), {"w0"});
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0"));
}

TEST(Engine, Restart_MemberRestartedMeanwhileIsReplacedAtOnce) {
  Pair pair;
  pair.cluster.Restart();
  pair.cluster.Join("w0", 1);
  pair.cluster.Take("w0");
  pair.cluster.Join("w1", 2);
  EXPECT_THAT(pair.cluster.Members(), ElementsAre("w0", "w1"));
  EXPECT_GE(pair.cluster.team().roster.version(), 2u);
  EXPECT_EQ(pair.cluster.team().roster.members(1).worker().incarnation(), 2u);
}

TEST(Engine, Restart_PausingRunIsAskedAgain) {
  Pair pair;
  ASSERT_OK(pair.cluster.Pause(pair.run));
  pair.cluster.Restart();
  pair.cluster.Join("w0", 1);
  EXPECT_EQ(CountIf(pair.cluster.Take("w0"),
                    [](const auto& m) {
                      return m.control().action() == v1::ControlRequest::ACTION_PAUSE;
                    }),
            1);
}

TEST(Engine, WorkerThatHoldsAnUnknownAssignment_IsToldToBeIdle) {
  Cluster cluster;
  v1::Register info = MakeRegister();
  info.mutable_held()->set_team_id("team-77");
  cluster.Join("w0", 1, info);
  const auto messages = cluster.Take("w0");
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(messages[1].has_assignment());
  EXPECT_EQ(messages[1].assignment().runs_size(), 0);
}

TEST(Engine, SameIdempotencyKey_GivesTheSameRun) {
  Cluster cluster;
  v1::SubmitRunRequest request;
  *request.mutable_spec() = MakeSpec();
  request.set_idempotency_key("k");
  Effects first_effects;
  Effects second_effects;
  const auto first = cluster.engine().Submit(cluster.now(), request, "/out/zesko", first_effects);
  const auto second = cluster.engine().Submit(cluster.now(), request, "/out/zesko", second_effects);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(first->run().run_id(), second->run().run_id());
  EXPECT_TRUE(second_effects.batch.empty());
}

TEST(Engine, FolderOfAnUnfinishedRun_IsRefused) {
  Cluster cluster;
  const std::string run = cluster.Submit(MakeSpec());
  v1::SubmitRunRequest request;
  *request.mutable_spec() = MakeSpec();
  Effects effects;
  EXPECT_THAT(cluster.engine().Submit(cluster.now(), request, "/out/zesko", effects),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("belongs to run '" + run)));
}

TEST(Engine, DryRun_JournalsNothing) {
  Cluster cluster;
  v1::SubmitRunRequest request;
  *request.mutable_spec() = MakeSpec();
  request.set_dry_run(true);
  Effects effects;
  EXPECT_OK(cluster.engine().Submit(cluster.now(), request, "/out/zesko", effects));
  EXPECT_TRUE(effects.empty());
  EXPECT_TRUE(cluster.engine().state().runs.empty());
}

TEST(Engine, DamagedJournal_IsRefusedWithTheContradiction) {
  Engine engine({}, [] { return 1; });
  v1::JournalRecord record;
  record.mutable_steps_committed()->set_run_id("ghost");
  EXPECT_THAT(engine.Restore(record), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("'ghost'")));
  v1::JournalRecord unknown;
  EXPECT_THAT(engine.Restore(unknown),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("newer coordinator")));
}

}  // namespace
}  // namespace neolog::coordinator
