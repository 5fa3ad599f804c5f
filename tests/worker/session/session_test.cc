#include "worker/session/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "tests/support/status_matchers.h"
#include "tests/worker/session/fake_cluster.h"

namespace neolog::session {
namespace {

using ::neolog::testing::FakeFinalState;
using ::neolog::testing::FakeRunSpec;
using ::neolog::testing::FakeTrainerOptions;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Names(int n) {
  std::vector<std::string> names;
  for (int i = 0; i < n; ++i) names.push_back("w" + std::to_string(i));
  return names;
}

void AddWorkers(FakeCluster& cluster, int n) {
  for (const std::string& name : Names(n)) cluster.AddWorker(name);
}

TEST(SessionTest, AnyTeamSize_EndsWithTheSameState) {
  for (const std::string reduce : {"ordered", "fast"}) {
    v1::RunSpec spec = FakeRunSpec("zesko", 60, 5);
    spec.mutable_training()->set_reduce(reduce);
    for (int n = 1; n <= 7; ++n) {  // seven ranks share five microbatches: some have none
      SCOPED_TRACE(fmt::format("{} by {}", reduce, n));
      FakeCluster cluster;
      cluster.AddRun(spec);
      AddWorkers(cluster, n);
      cluster.NewRoster(Names(n));
      ASSERT_TRUE(cluster.WaitCommitted("zesko", 60));
      EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 60));
      EXPECT_THAT(cluster.problems(), IsEmpty());
    }
  }
}

TEST(SessionTest, PictureIsEncodedOnceInTheTeam_WhenAStepFirstNeedsIt) {
  FakeCluster cluster;
  // Three pictures, two a step: the second step needs the third and the first again, on the other
  // rank.
  cluster.AddRun(FakeRunSpec("zesko", 3, 2));
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 3));
  EXPECT_EQ(cluster.trainer("w0").encodes, 2);
  EXPECT_EQ(cluster.trainer("w1").encodes, 1);
}

TEST(SessionTest, PictureThatNoStepNeeds_IsNotEncoded) {
  FakeCluster cluster;
  cluster.AddRun(FakeRunSpec("zesko", 1, 2));
  AddWorkers(cluster, 1);
  cluster.NewRoster(Names(1));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 1));
  EXPECT_EQ(cluster.trainer("w0").encodes, 2);
}

TEST(SessionTest, PicturesOfAnEarlierRun_AreNotEncodedAgain_ByOtherWorkers) {
  FakeCluster cluster;
  v1::RunSpec first = FakeRunSpec("first", 3, 2);
  v1::RunSpec second = FakeRunSpec("second", 6, 2);
  *second.mutable_data() = first.data();
  cluster.AddRun(first);
  AddWorkers(cluster, 3);
  cluster.NewRoster({"w0"});
  ASSERT_TRUE(cluster.WaitCommitted("first", 3));
  cluster.AddRun(second);
  cluster.SetLatentsAssigned(
      false);  // the coordinator assigns what the runs are known to use: nothing yet
  cluster.NewRoster({"w1", "w2"});
  ASSERT_TRUE(cluster.WaitCommitted("second", 6));
  EXPECT_EQ(cluster.Book("second").state, FakeFinalState(second, 6));
  EXPECT_EQ(cluster.trainer("w1").encodes + cluster.trainer("w2").encodes, 0);
}

TEST(SessionTest, CoordinatorAwayWhenAPictureIsNeeded_StepsGoOnWhenItIsBack) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 40, 2);
  FakeCluster cluster;
  cluster.AddRun(spec);
  AddWorkers(cluster, 2);
  cluster.SetDeafToLatents(
      true);  // questions and results are lost, as on a stream that is about to break
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitUntil(
      [](FakeCluster& c) { return c.session("w0")->Progress().phase() == "encoding"; }));
  cluster.SetAway(true);
  cluster.SetDeafToLatents(false);
  cluster.SetAway(false);
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 40));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 40));
}

TEST(SessionTest, RunsOfAPack_EndAsAlone) {
  for (const std::string reduce : {"ordered", "fast"}) {
    SCOPED_TRACE(reduce);
    v1::RunSpec a = FakeRunSpec("a", 30, 3), b = FakeRunSpec("b", 45, 4);
    for (v1::RunSpec* spec : {&a, &b}) spec->mutable_training()->set_reduce(reduce);
    FakeCluster cluster;
    cluster.AddRun(a);
    cluster.AddRun(b);
    AddWorkers(cluster, 3);
    cluster.NewRoster(Names(3));
    ASSERT_TRUE(cluster.WaitCommitted("b", 45));
    ASSERT_TRUE(cluster.WaitCommitted("a", 30));
    EXPECT_EQ(cluster.Book("a").state, FakeFinalState(a, 30));
    EXPECT_EQ(cluster.Book("b").state, FakeFinalState(b, 45));
  }
}

TEST(SessionTest, PeerLost_SurvivorsKeepModelAndState_AndGoOn) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 300, 6);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(500)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 3);
  cluster.NewRoster(Names(3));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 20));
  cluster.Kill("w1");
  // A survivor may have seen the other one leave the roster before it saw why, and say that first.
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) {
    const std::vector<v1::PeerFailure> failures = c.peer_failures();
    return std::any_of(failures.begin(), failures.end(),
                       [](const auto& failure) { return failure.peer().worker_id() == "w1"; });
  }));
  cluster.NewRoster({"w0", "w2"});
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 300));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 300));
  for (const char* survivor : {"w0", "w2"}) {
    EXPECT_EQ(cluster.trainer(survivor).prepares, 1);
    EXPECT_EQ(cluster.trainer(survivor).model_loads, 1);
  }
  EXPECT_THAT(cluster.problems(), IsEmpty());
}

TEST(SessionTest, ReporterDiesWithUnsaidSteps_TheNextOneSaysThem) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 200, 2);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(500)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 5));
  cluster.Mute("w0", true);  // the reporter's words are lost from here on
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) {
    const v1::Heartbeat progress = c.session("w1")->Progress();
    return progress.steps_size() == 1 && progress.steps(0) > c.Committed("zesko") + 20;
  }));
  const uint64_t reached = cluster.session("w1")->Progress().steps(0);
  cluster.Kill("w0");
  cluster.NewRoster({"w1"});
  ASSERT_TRUE(cluster.WaitCommitted("zesko", reached));
  const int computed = cluster.trainer("w1").microbatches;
  EXPECT_LT(computed, 200) << "steps taken together are not computed again";
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 200));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 200));
  EXPECT_THAT(cluster.problems(), IsEmpty());
}

TEST(SessionTest, NewMember_TakesStateAndUncommittedRecords_AndCanReportThem) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 200, 2);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(500)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 1);
  cluster.NewRoster({"w0"});
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 5));
  cluster.Mute("w0", true);
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) {
    return c.session("w0")->Progress().steps(0) > c.Committed("zesko") + 10;
  }));
  cluster.AddWorker("w9");
  cluster.NewRoster({"w9", "w0"});  // the newcomer is rank 0: it reports what w0 could not say
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 200));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 200));
  EXPECT_THAT(cluster.problems(), IsEmpty());
}

TEST(SessionTest, CoordinatorAway_KeepsStepping_AndReportsLater) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 100, 2);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(300)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 5));
  cluster.SetAway(true);
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) {
    return c.session("w0")->Progress().steps(0) == 100 &&
           c.session("w1")->Progress().steps(0) == 100;
  }));
  EXPECT_LT(cluster.Committed("zesko"), 100U);
  cluster.SetAway(false);
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 100));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 100));
}

TEST(SessionTest, CoordinatorAwayAndPeerLost_WaitsWithModelAndState) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 100, 4);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(300)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 5));
  cluster.SetAway(true);
  cluster.Kill("w1");
  ASSERT_TRUE(cluster.WaitUntil(
      [](FakeCluster& c) { return c.session("w0")->Progress().phase() == "regrouping"; }));
  EXPECT_EQ(cluster.session("w0")->Held().team_id(), "team");
  cluster.SetAway(false);
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) { return !c.peer_failures().empty(); }));
  cluster.NewRoster({"w0"});
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 100));
  EXPECT_EQ(cluster.trainer("w0").prepares, 1);
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 100));
}

TEST(SessionTest, Pause_ToldToOneRankOnly_TakesEffectAtOneStepOnAll_AndResumesOnAnotherTeam) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 120, 3);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(300)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 3);
  cluster.NewRoster(Names(3));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 10));
  cluster.Control("zesko", v1::ControlRequest::ACTION_PAUSE, {"w2"});
  ASSERT_TRUE(cluster.WaitLeft("zesko"));
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) {
    const uint64_t step = c.session("w0")->Progress().steps(0);
    for (const char* id : {"w0", "w1", "w2"}) {
      const v1::Heartbeat progress = c.session(id)->Progress();
      if (progress.phase() != "idle" || progress.steps(0) != step) return false;
    }
    return c.Committed("zesko") == step;
  }));
  const uint64_t paused_at = cluster.Committed("zesko");
  EXPECT_LT(paused_at, 120U);
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, paused_at));
  cluster.Resume("zesko");
  cluster.NewRoster({"w1"}, "another team");
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 120));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 120));
  EXPECT_EQ(cluster.trainer("w1").model_loads, 1);
}

TEST(SessionTest, StopOfOneRun_LeavesThePackmateAlone) {
  const v1::RunSpec a = FakeRunSpec("a", 100000, 3);
  const v1::RunSpec b = FakeRunSpec("b", 80, 4);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(200)});
  cluster.AddRun(a);
  cluster.AddRun(b);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("a", 10));
  cluster.Control("a", v1::ControlRequest::ACTION_STOP);
  ASSERT_TRUE(cluster.WaitLeft("a"));
  ASSERT_TRUE(cluster.WaitCommitted("b", 80));
  EXPECT_EQ(cluster.Book("a").state, FakeFinalState(a, cluster.Committed("a")));
  EXPECT_EQ(cluster.Book("b").state, FakeFinalState(b, 80));
}

TEST(SessionTest, NumberThatIsNotFinite_FailsThatRunOnly_KeepingTheStepsBefore) {
  const v1::RunSpec bad = FakeRunSpec("bad", 50, 3);
  const v1::RunSpec good = FakeRunSpec("good", 50, 2);
  FakeCluster cluster({.not_finite_at = {{"bad", 20}}});
  cluster.AddRun(bad);
  cluster.AddRun(good);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitLeft("bad"));
  ASSERT_TRUE(cluster.WaitCommitted("good", 50));
  EXPECT_EQ(cluster.Book("bad").failure.kind(), v1::RunFailure::KIND_NOT_FINITE);
  EXPECT_EQ(cluster.Book("bad").failure.step(), 20U);
  EXPECT_EQ(cluster.Committed("bad"), 19U);
  EXPECT_EQ(cluster.Book("bad").state, FakeFinalState(bad, 19));
  EXPECT_EQ(cluster.Book("good").state, FakeFinalState(good, 50));
}

TEST(SessionTest, StateThatDiffersOnOneRank_FailsTheRunAndNamesTheRank) {
  FakeCluster cluster({.microbatch_time = absl::Microseconds(300)});
  cluster.AddRun(FakeRunSpec("zesko", 100, 3));
  AddWorkers(cluster, 2);
  cluster.AddWorker("odd", {.corrupt_at = {{"zesko", 30}}});
  cluster.NewRoster({"w0", "odd", "w1"});
  ASSERT_TRUE(cluster.WaitLeft("zesko"));
  EXPECT_EQ(cluster.Book("zesko").failure.kind(), v1::RunFailure::KIND_DIVERGED);
  EXPECT_THAT(cluster.Book("zesko").failure.message(), HasSubstr("odd: odd"));
}

TEST(SessionTest, InputsThatCannotBeUsed_AreReported) {
  FakeCluster cluster({.prepare_error = InvalidArgument("the model has no text encoder")});
  cluster.AddRun(FakeRunSpec("zesko", 10, 1));
  AddWorkers(cluster, 1);
  cluster.NewRoster({"w0"});
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) { return !c.pack_failures().empty(); }));
  EXPECT_EQ(cluster.pack_failures()[0].failure().kind(), v1::RunFailure::KIND_BAD_INPUT);
  EXPECT_THAT(cluster.pack_failures()[0].failure().message(), HasSubstr("no text encoder"));
}

TEST(SessionTest, RunThatCannotBeUsed_FailsAlone_AndItsPackmatesGoOn) {
  const v1::RunSpec good = FakeRunSpec("good", 40, 3);
  FakeCluster cluster(
      {.bad_runs = {{"bad", DataLoss("the committed state does not fit its hash")}}});
  cluster.AddRun(good);
  cluster.AddRun(FakeRunSpec("bad", 40, 2));
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitLeft("bad"));
  EXPECT_EQ(cluster.Book("bad").failure.kind(), v1::RunFailure::KIND_BAD_INPUT);
  EXPECT_THAT(cluster.Book("bad").failure.message(), HasSubstr("does not fit its hash"));
  EXPECT_THAT(cluster.pack_failures(), IsEmpty());
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("good", 40));
  EXPECT_EQ(cluster.Book("good").state, FakeFinalState(good, 40));
}

TEST(SessionTest, DamagedCommittedState_IsBlamedOnItsRun) {
  // The second roster brings a state that nobody can read: regrouping keeps the model, so Prepare
  // never sees it.
  FakeCluster cluster({.microbatch_time = absl::Microseconds(300)});
  cluster.AddRun(FakeRunSpec("good", 5000, 2));
  cluster.AddRun(FakeRunSpec("bad", 5000, 2));
  AddWorkers(cluster, 1);
  cluster.NewRoster(Names(1));
  ASSERT_TRUE(cluster.WaitCommitted("bad", 3));
  cluster.DamageCommit("bad");
  cluster.NewRoster(Names(1));
  ASSERT_TRUE(cluster.WaitLeft("bad"));
  EXPECT_EQ(cluster.Book("bad").failure.kind(), v1::RunFailure::KIND_BAD_INPUT);
  EXPECT_THAT(cluster.pack_failures(), IsEmpty());
}

TEST(SessionTest, HungMember_IsToldFromThoseThatWaitForIt_AndTheyGoOnWithoutIt) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 60, 4);
  FakeCluster cluster;
  cluster.AddRun(spec);
  cluster.AddWorker("w0");
  cluster.AddWorker("w1", {.hangs_at = 10});
  cluster.NewRoster(Names(2));
  const auto progress = [&](const char* id) { return cluster.session(id)->Progress(); };
  ASSERT_TRUE(cluster.WaitUntil([&](FakeCluster&) {
    return progress("w0").waits_for() == v1::Heartbeat::WAITS_FOR_PEERS &&
           progress("w1").steps_size() == 1 && progress("w1").steps(0) == 9;
  }));
  EXPECT_EQ(progress("w1").waits_for(), v1::Heartbeat::WAITS_FOR_NOTHING)
      << "it computes, or so it seems";
  EXPECT_EQ(progress("w1").phase(), "stepping");
  const uint64_t stands_at = progress("w1").progress();
  cluster.NewRoster({"w0"});
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 60));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 60));
  EXPECT_GE(progress("w1").progress(), stands_at);
}

TEST(SessionTest, RevokedIncarnation_WaitsAndGoesOnUnderTheNewOne_KeepingTheModel) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 100, 2);
  FakeCluster cluster({.microbatch_time = absl::Microseconds(300)});
  cluster.AddRun(spec);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 5));
  cluster.session("w1")->OnRevoked();
  cluster.SetIncarnation("w1", 4711);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 100));
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 100));
  EXPECT_EQ(cluster.trainer("w1").model_loads, 1);
}

TEST(SessionTest, Artifacts_AreSharedByIndex_AndChangeNothing) {
  const v1::RunSpec spec = FakeRunSpec("zesko", 20, 2);
  FakeCluster cluster({.artifacts_every = 10, .artifacts = 3});
  cluster.AddRun(spec);
  AddWorkers(cluster, 2);
  cluster.NewRoster(Names(2));
  ASSERT_TRUE(cluster.WaitCommitted("zesko", 20));
  ASSERT_TRUE(cluster.WaitUntil([](FakeCluster& c) { return c.artifacts().size() == 6; }));
  for (const v1::ArtifactReport& report : cluster.artifacts()) {
    ASSERT_OK_AND_ASSIGN(const std::string bytes, cluster.blobs().Get(report.blob_digest()));
    EXPECT_EQ(bytes, fmt::format("preview {} of zesko after {}", report.index(), report.step()));
  }
  EXPECT_EQ(cluster.Book("zesko").state, FakeFinalState(spec, 20));
}

class SessionChaosTest : public ::testing::TestWithParam<int> {};

// Deaths, joins, outages, new rosters with the same members and pauses, at random moments.
TEST_P(SessionChaosTest, RandomDisturbances_EndWithTheUndisturbedState) {
  std::mt19937 random(GetParam());
  v1::RunSpec a = FakeRunSpec("a", 250, 5), b = FakeRunSpec("b", 200, 3);
  for (v1::RunSpec* spec : {&a, &b})
    spec->mutable_training()->set_reduce(GetParam() % 3 == 2 ? "fast" : "ordered");
  FakeCluster cluster(
      {.microbatch_time = absl::Microseconds(200), .artifacts_every = 50, .artifacts = 2});
  cluster.AddRun(a);
  cluster.AddRun(b);
  std::vector<std::string> members = Names(3);
  int next = 3;
  AddWorkers(cluster, 3);
  cluster.NewRoster(members);
  bool away = false;
  int team = 0;
  for (int i = 0; i < 40 && cluster.Committed("a") < 250; ++i) {
    const uint64_t reached = cluster.Committed("a") + random() % 8;
    if (!away)
      cluster.WaitUntil([&](FakeCluster& c) {
        return c.Committed("a") >= std::min<uint64_t>(reached, 250) || c.Book("a").left;
      });
    switch (random() % 6) {
      case 0: {
        const size_t victim = random() % members.size();
        cluster.Kill(members[victim]);
        members.erase(members.begin() + static_cast<std::ptrdiff_t>(victim));
        break;
      }
      case 1:
        away = !away;
        cluster.SetAway(away);
        break;
      case 2: cluster.Control("a", v1::ControlRequest::ACTION_PAUSE); break;
      case 3: cluster.Control("b", v1::ControlRequest::ACTION_CHECKPOINT); break;
      default: break;  // a new roster with the same members
    }
    if (members.empty() || (members.size() < 4 && random() % 3 == 0)) {
      members.push_back("w" + std::to_string(next++));
      cluster.AddWorker(members.back());
    }
    std::shuffle(members.begin(), members.end(), random);
    for (const char* run : {"a", "b"}) cluster.Resume(run);
    cluster.NewRoster(members, "team" + std::to_string(random() % 4 == 0 ? ++team : team));
  }
  if (away) cluster.SetAway(false);
  for (const char* run : {"a", "b"}) cluster.Resume(run);
  cluster.NewRoster(members, "the last team");
  for (const char* run : {"a", "b"}) {
    ASSERT_TRUE(cluster.WaitUntil([&](FakeCluster& c) {
      return c.Book(run).steps.size() == c.Book(run).spec.training().steps() || c.Book(run).left;
    }));
  }
  // A pause that was still on its way is a legitimate end of the disturbance: resume once more.
  for (int again = 0; again < 3 && (cluster.Committed("a") < 250 || cluster.Committed("b") < 200);
       ++again) {
    for (const char* run : {"a", "b"}) cluster.Resume(run);
    cluster.NewRoster(members, "again" + std::to_string(again));
    for (const char* run : {"a", "b"}) {
      ASSERT_TRUE(cluster.WaitUntil([&](FakeCluster& c) {
        return c.Book(run).steps.size() == c.Book(run).spec.training().steps() || c.Book(run).left;
      }));
    }
  }
  EXPECT_EQ(cluster.Book("a").state, FakeFinalState(a, 250));
  EXPECT_EQ(cluster.Book("b").state, FakeFinalState(b, 200));
  EXPECT_THAT(cluster.problems(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, SessionChaosTest, ::testing::Range(0, 12));

}  // namespace
}  // namespace neolog::session
