#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "neolog/v1/agent.pb.h"

namespace neolog::session {

/// The steps of one run that are taken but not known to be committed, with the states that must
/// reach the coordinator: every rank keeps one, so that whoever reports next can say what the last
/// reporter did not. One thread.
class RecordBook {
 public:
  /// Starts over behind `committed_step`.
  void Reset(uint64_t committed_step);
  /// The next step. `state` is the state after it where one must be kept (a checkpoint's), else
  /// empty.
  void Append(const v1::StepRecord& record, std::string state);
  /// Everything up to `step` is durable.
  void OnCommitted(uint64_t step);
  /// The highest step known to be committed.
  uint64_t committed() const { return committed_; }
  bool empty() const { return records_.empty(); }
  /// This rank's hash after `step`, 0 when it has no record of it.
  uint64_t HashAfter(uint64_t step) const;

  /// What is not committed, cut behind every kept state; the last piece ends with `state`, the
  /// present one. Only steps and state are set. Empty when everything is committed.
  std::vector<v1::CommitReport> Pieces(const std::string& state) const;
  /// Takes over another rank's pieces, the last of which holds the present state after `step`.
  void Adopt(uint64_t step, const std::vector<v1::CommitReport>& pieces);

 private:
  uint64_t committed_ = 0;
  std::deque<v1::StepRecord> records_;    // committed_ + 1, ...
  std::map<uint64_t, std::string> kept_;  // states by step, uncommitted
};

}  // namespace neolog::session
