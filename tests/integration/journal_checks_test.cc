// The checks that the attacks on real clusters rely on, on journals written by hand: each must see
// what it is there for.

#include "tests/integration/journal_checks.h"

#include <gmock/gmock.h>

namespace neolog::testing {
namespace {

using ::testing::HasSubstr;

v1::JournalRecord Roster(const std::string& team, uint64_t version,
                         const std::vector<std::string>& runs) {
  v1::JournalRecord record;
  record.mutable_roster_formed()->mutable_roster()->set_team_id(team);
  record.mutable_roster_formed()->mutable_roster()->set_version(version);
  for (const std::string& run : runs) record.mutable_roster_formed()->add_run_ids(run);
  return record;
}

/// Steps [first, last] of a run.
v1::JournalRecord Steps(const std::string& run, uint64_t version, uint64_t first, uint64_t last) {
  v1::JournalRecord record;
  record.mutable_steps_committed()->set_run_id(run);
  record.mutable_steps_committed()->set_roster_version(version);
  for (uint64_t step = first; step <= last; ++step)
    record.mutable_steps_committed()->add_steps()->set_step(step);
  return record;
}

TEST(WhyNotEveryStepOnceTest, SeesEveryKindOfWrongJournal) {
  EXPECT_EQ(
      WhyNotEveryStepOnce({Steps("a", 1, 1, 3), Steps("b", 1, 1, 9), Steps("a", 1, 4, 5)}, "a", 5),
      "");
  EXPECT_THAT(WhyNotEveryStepOnce({Steps("a", 1, 1, 3), Steps("a", 1, 5, 5)}, "a", 5),
              HasSubstr("step 5 where step 4"));
  EXPECT_THAT(WhyNotEveryStepOnce({Steps("a", 1, 1, 3), Steps("a", 1, 3, 5)}, "a", 5),
              HasSubstr("step 3 where step 4"));
  EXPECT_THAT(WhyNotEveryStepOnce({Steps("a", 1, 4, 5), Steps("a", 1, 1, 3)}, "a", 5),
              HasSubstr("step 4 where step 1"));
  EXPECT_THAT(WhyNotEveryStepOnce({Steps("a", 1, 1, 4)}, "a", 5),
              HasSubstr("after step 4 and not after step 5"));
  EXPECT_THAT(WhyNotEveryStepOnce({Steps("a", 1, 1, 6)}, "a", 5), HasSubstr("after step 6"));
  EXPECT_THAT(WhyNotEveryStepOnce({}, "a", 5), HasSubstr("after step 0"));
}

TEST(CommitsOfTest, FindsTheRosterOfEachCommit) {
  const std::vector<Commit> commits = CommitsOf(
      {Roster("t1", 1, {"a"}), Roster("t2", 1, {"b"}), Steps("a", 1, 1, 1), Roster("t1", 2, {"a"}),
       Steps("a", 2, 2, 2), Steps("b", 1, 1, 4), Roster("t3", 1, {"a"}), Steps("a", 1, 3, 3)},
      "a");
  ASSERT_EQ(commits.size(), 3u);
  EXPECT_EQ(commits[0].under.roster().team_id(), "t1");
  EXPECT_EQ(commits[0].under.roster().version(), 1u);
  EXPECT_EQ(commits[1].under.roster().version(), 2u);
  EXPECT_EQ(commits[2].under.roster().team_id(), "t3");
}

TEST(SharingOfTest, TellsAPackFromNeighbours) {
  struct Case {
    const char* name;
    Records records;
    uint64_t steps;
    int turns;
  };
  const Case cases[] = {
      {"in one pack, until b ends",
       {Roster("t1", 1, {"a", "b"}), Steps("a", 1, 1, 2), Steps("b", 1, 1, 2), Steps("a", 1, 3, 4),
        Steps("b", 1, 3, 3), Steps("a", 1, 5, 9)},
       3,
       4},
      {"in one pack over a change of members",
       {Roster("t1", 1, {"a", "b"}), Steps("a", 1, 1, 2), Steps("b", 1, 1, 2),
        Roster("t1", 2, {"a", "b"}), Steps("a", 2, 3, 4), Steps("b", 2, 3, 4)},
       4,
       2},
      {"one after the other",
       {Roster("t1", 1, {"a"}), Steps("a", 1, 1, 9), Roster("t2", 1, {"b"}), Steps("b", 1, 1, 9)},
       0,
       0},
      {"beside each other, each in a pack of its own",
       {Roster("t1", 1, {"a"}), Roster("t2", 1, {"b"}), Steps("a", 1, 1, 4), Steps("b", 1, 1, 4),
        Steps("a", 1, 5, 9), Steps("b", 1, 5, 9)},
       0,
       0},
      {"assigned together, taken one after the other",
       {Roster("t1", 1, {"a", "b"}), Steps("a", 1, 1, 4), Steps("a", 1, 5, 9), Steps("b", 1, 1, 9)},
       9,
       1},
      {"together with a third run, and another team beside them",
       {Roster("t1", 1, {"c", "a", "b"}), Steps("a", 1, 1, 4), Steps("c", 1, 1, 4),
        Roster("t2", 1, {"d"}), Steps("b", 1, 1, 4)},
       4,
       1},
  };
  for (const Case& c : cases) {
    const Sharing sharing = SharingOf(c.records, "a", "b");
    EXPECT_EQ(sharing.steps, c.steps) << c.name;
    EXPECT_EQ(sharing.turns, c.turns) << c.name;
  }
}

}  // namespace
}  // namespace neolog::testing
