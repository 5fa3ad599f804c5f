#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "neolog/v1/run.pb.h"

namespace neolog::collective::nccl {

/// Who has announced which operation. NCCL compares nothing and names nobody: an operation that a
/// rank does not take part in, or takes for another one, never ends. So every rank tells the others
/// over the link what it is about to do. Not synchronised.
class Arrivals {
 public:
  Arrivals(const v1::Roster& roster, int rank);
  /// This rank begins its next operation. Internal when another rank announced a different one.
  absl::Status BeginMine(std::string what);
  /// Rank `from` announced operation `sequence`. Internal when this rank does or did another one
  /// under that number.
  absl::Status Announced(int from, uint64_t sequence, std::string what);
  /// The ranks, without this one, that have not announced what this rank began last.
  std::vector<int> Missing() const;
  bool HasArrived(int from) const { return announced_[from] >= begun_; }
  /// How many operations this rank began.
  uint64_t begun() const { return begun_; }

 private:
  absl::Status Compare(int from, uint64_t sequence, const std::string& theirs) const;
  void Forget();

  const v1::Roster roster_;
  const int rank_;
  uint64_t begun_ = 0;
  std::deque<std::string> mine_;  // the operations from first_mine_ on
  uint64_t first_mine_ = 0;
  std::vector<uint64_t> announced_;             // by rank: how many
  std::vector<std::deque<std::string>> ahead_;  // by rank: announced, and not begun here
};

}  // namespace neolog::collective::nccl
