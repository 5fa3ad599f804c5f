#include "tests/integration/journal_checks.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>

#include "coordinator/journal/sqlite_journal.h"

namespace neolog::testing {
namespace {

bool Lists(const v1::RosterFormed& formed, const std::string& run_id) {
  return std::find(formed.run_ids().begin(), formed.run_ids().end(), run_id) !=
         formed.run_ids().end();
}

}  // namespace

Records ReadJournal(const std::string& path) {
  Records records;
  auto journal = coordinator::SqliteJournal::Open(path);
  EXPECT_TRUE(journal.ok()) << journal.status();
  if (!journal.ok()) return records;
  const absl::Status read = (*journal)->Replay([&](uint64_t, const v1::JournalRecord& record) {
    records.push_back(record);
    return absl::OkStatus();
  });
  EXPECT_TRUE(read.ok()) << read;
  return records;
}

std::string RunIdOf(const Records& records, const std::string& name) {
  std::string id;
  for (const v1::JournalRecord& record : records) {
    if (record.has_run_submitted() && record.run_submitted().spec().name() == name) {
      id = record.run_submitted().run_id();
    }
  }
  return id;
}

std::vector<Commit> CommitsOf(const Records& records, const std::string& run_id) {
  std::vector<Commit> commits;
  // A commit names only the version: the team is the last one that the run was assigned to.
  std::string team;
  std::map<std::pair<std::string, uint64_t>, v1::RosterFormed> rosters;
  for (const v1::JournalRecord& record : records) {
    if (record.has_roster_formed()) {
      const v1::RosterFormed& formed = record.roster_formed();
      if (Lists(formed, run_id)) team = formed.roster().team_id();
      rosters[{formed.roster().team_id(), formed.roster().version()}] = formed;
    } else if (record.has_steps_committed() && record.steps_committed().run_id() == run_id) {
      commits.push_back(
          {record.steps_committed(), rosters[{team, record.steps_committed().roster_version()}]});
    }
  }
  return commits;
}

std::string WhyNotEveryStepOnce(const Records& records, const std::string& run_id, uint64_t steps) {
  uint64_t next = 1;
  for (const v1::JournalRecord& record : records) {
    if (!record.has_steps_committed() || record.steps_committed().run_id() != run_id) continue;
    for (const v1::StepRecord& step : record.steps_committed().steps()) {
      if (step.step() != next)
        return fmt::format("step {} where step {} should be", step.step(), next);
      ++next;
    }
  }
  if (next == steps + 1) return "";
  return fmt::format("it ends after step {} and not after step {}", next - 1, steps);
}

int CountRosters(const Records& records) {
  return static_cast<int>(std::count_if(records.begin(), records.end(), [](const auto& record) {
    return record.has_roster_formed();
  }));
}

Sharing SharingOf(const Records& records, const std::string& run_a, const std::string& run_b) {
  Sharing sharing;
  bool shared = false;
  std::string last;
  std::map<std::string, uint64_t> taken;  // under this roster
  const auto close = [&] {
    sharing.steps += std::min(taken[run_a], taken[run_b]);
    taken.clear();
    last.clear();
  };
  for (const v1::JournalRecord& record : records) {
    if (record.has_roster_formed()) {
      const v1::RosterFormed& formed = record.roster_formed();
      if (!Lists(formed, run_a) && !Lists(formed, run_b)) continue;  // another team's
      close();
      shared = Lists(formed, run_a) && Lists(formed, run_b);
    } else if (record.has_steps_committed() && shared) {
      const v1::StepsCommitted& commit = record.steps_committed();
      if (commit.run_id() != run_a && commit.run_id() != run_b) continue;
      taken[commit.run_id()] += static_cast<uint64_t>(commit.steps_size());
      if (!last.empty() && last != commit.run_id()) ++sharing.turns;
      last = commit.run_id();
    }
  }
  close();
  return sharing;
}

}  // namespace neolog::testing
