#include "worker/collective/peer_fence.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"

namespace neolog::collective {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;
using Verdict = HelloDecision::Verdict;

v1::PeerHello Hello(uint64_t version, uint32_t rank, const char* id, uint64_t incarnation) {
  v1::PeerHello hello;
  hello.set_team_id("t");
  hello.set_roster_version(version);
  hello.set_rank(rank);
  hello.mutable_worker()->set_worker_id(id);
  hello.mutable_worker()->set_incarnation(incarnation);
  return hello;
}

TeamFence OnRosterFive() {
  v1::Roster roster;
  roster.set_team_id("t");
  roster.set_version(5);
  for (int i = 0; i < 2; ++i) {
    auto* worker = roster.add_members()->mutable_worker();
    worker->set_worker_id(i == 0 ? "a" : "b");
    worker->set_incarnation(10 + i);
  }
  return {.roster = roster};
}

struct Case {
  const char* name;
  v1::PeerHello hello;
  Verdict verdict;
  const char* reason;
};

class DecideHelloTest : public ::testing::TestWithParam<Case> {};

TEST_P(DecideHelloTest, FencesByVersionAndIncarnation) {
  const HelloDecision decision = DecideHello(GetParam().hello, OnRosterFive());
  EXPECT_EQ(decision.verdict, GetParam().verdict);
  if (decision.verdict == Verdict::kRefuse) {
    EXPECT_THAT(decision.reason,
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(GetParam().reason)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, DecideHelloTest,
    ::testing::Values(
        Case{"SameRoster", Hello(5, 1, "b", 11), Verdict::kAttach, ""},
        Case{"NewerRoster", Hello(6, 1, "b", 99), Verdict::kPark, ""},
        Case{"OlderRoster", Hello(4, 1, "b", 11), Verdict::kRefuse, "roster 4 of team t is over"},
        Case{"StaleIncarnation", Hello(5, 1, "b", 12), Verdict::kRefuse, "incarnation"},
        Case{"OtherWorker", Hello(5, 1, "a", 10), Verdict::kRefuse, "is not rank 1"},
        Case{"NoSuchRank", Hello(5, 2, "b", 11), Verdict::kRefuse, "is not rank 2"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(DecideHelloTest, BeforeTheFirstRoster_Parks) {
  EXPECT_EQ(DecideHello(Hello(1, 0, "a", 10), {}).verdict, Verdict::kPark);
}

TEST(DecideHelloTest, EndedRoster_FinishesOrSaysThatThisMemberLeft) {
  TeamFence fence = OnRosterFive();
  fence.ended = true;
  EXPECT_EQ(DecideHello(Hello(5, 1, "b", 11), fence).verdict, Verdict::kFinish);
  fence.end = Aborted("roster 6 has arrived");
  EXPECT_THAT(
      DecideHello(Hello(5, 1, "b", 11), fence).reason,
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("left roster 5: roster 6 has arrived")));
  fence.end = Internal("members disagree");
  EXPECT_THAT(DecideHello(Hello(5, 1, "b", 11), fence).reason,
              StatusIs(absl::StatusCode::kInternal, HasSubstr("disagree")));
  EXPECT_EQ(DecideHello(Hello(6, 1, "b", 11), fence).verdict, Verdict::kPark);
}

}  // namespace
}  // namespace neolog::collective
