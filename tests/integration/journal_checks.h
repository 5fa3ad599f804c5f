#pragma once

#include <string>
#include <vector>

#include "neolog/v1/journal.pb.h"

namespace neolog::testing {

/// A coordinator's journal, oldest record first.
using Records = std::vector<v1::JournalRecord>;

/// Reads the journal at `path`; the test fails when it cannot be read. No coordinator may have it
/// open.
Records ReadJournal(const std::string& path);

/// The id of the run with this name, the newest if there are several; empty when there is none.
std::string RunIdOf(const Records& records, const std::string& name);

/// One commit and the roster under which it was made.
struct Commit {
  v1::StepsCommitted steps;
  v1::RosterFormed under;
};
/// The commits of a run in the order they were made.
std::vector<Commit> CommitsOf(const Records& records, const std::string& run_id);

/// Empty when the journal has every step from 1 to `steps` of the run exactly once, in order; else
/// what is wrong first.
std::string WhyNotEveryStepOnce(const Records& records, const std::string& run_id, uint64_t steps);

/// How many rosters were formed.
int CountRosters(const Records& records);

/// What two runs did in one pack.
struct Sharing {
  /// Steps that both of them took while both were assigned under one roster.
  uint64_t steps = 0;
  /// How often a commit of one was followed by a commit of the other meanwhile. Runs in one batch
  /// take turns all the time; one after the other would be a single turn.
  int turns = 0;
};
Sharing SharingOf(const Records& records, const std::string& run_a, const std::string& run_b);

}  // namespace neolog::testing
