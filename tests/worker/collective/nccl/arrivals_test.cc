#include "worker/collective/nccl/arrivals.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"

namespace neolog::collective::nccl {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ArrivalsTest : public ::testing::Test {
 protected:
  static v1::Roster Three() {
    v1::Roster roster;
    roster.set_version(7);
    for (const char* id : {"w0", "w1", "w2"})
      roster.add_members()->mutable_worker()->set_worker_id(id);
    return roster;
  }
  Arrivals arrivals_{Three(), 1};
};

TEST_F(ArrivalsTest, Missing_AreThoseThatHaveNotAnnouncedTheLatest) {
  EXPECT_THAT(arrivals_.Missing(), IsEmpty());
  ASSERT_OK(arrivals_.BeginMine("a"));
  EXPECT_THAT(arrivals_.Missing(), ElementsAre(0, 2));
  ASSERT_OK(arrivals_.Announced(2, 0, "a"));
  EXPECT_THAT(arrivals_.Missing(), ElementsAre(0));
  EXPECT_TRUE(arrivals_.HasArrived(2));
  ASSERT_OK(arrivals_.BeginMine("b"));
  EXPECT_THAT(arrivals_.Missing(), ElementsAre(0, 2));
}

TEST_F(ArrivalsTest, RankAhead_IsComparedWhenThisOneFollows) {
  ASSERT_OK(arrivals_.Announced(0, 0, "a"));
  ASSERT_OK(arrivals_.Announced(0, 1, "b"));
  ASSERT_OK(arrivals_.BeginMine("a"));
  EXPECT_TRUE(arrivals_.HasArrived(0));
  EXPECT_THAT(arrivals_.BeginMine("c"),
              testing::StatusIs(
                  absl::StatusCode::kInternal,
                  AllOf(HasSubstr("disagree about operation 1"), HasSubstr("this rank 1 does c"),
                        HasSubstr("worker w0 (rank 0 of roster 7) does b"))));
}

TEST_F(ArrivalsTest, RankBehind_IsComparedWhenItFollows_HoweverLate) {
  for (int i = 0; i < 500; ++i) ASSERT_OK(arrivals_.BeginMine("op " + std::to_string(i)));
  for (int i = 0; i < 499; ++i) {
    ASSERT_OK(arrivals_.Announced(0, i, "op " + std::to_string(i)));
    ASSERT_OK(arrivals_.Announced(2, i, "op " + std::to_string(i)));
  }
  ASSERT_OK(arrivals_.Announced(0, 499, "op 499"));
  EXPECT_THAT(arrivals_.Announced(2, 499, "op 498"),
              testing::StatusIs(absl::StatusCode::kInternal, HasSubstr("does op 498")));
}

TEST_F(ArrivalsTest, SkippedNumber_IsADisagreement) {
  EXPECT_THAT(arrivals_.Announced(0, 1, "a"),
              testing::StatusIs(absl::StatusCode::kInternal, HasSubstr("number 1 after 0")));
}

}  // namespace
}  // namespace neolog::collective::nccl
