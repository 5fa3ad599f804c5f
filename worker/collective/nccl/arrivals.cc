#include "worker/collective/nccl/arrivals.h"

#include <fmt/format.h>

#include <algorithm>

#include "worker/collective/link.h"

namespace neolog::collective::nccl {

Arrivals::Arrivals(const v1::Roster& roster, int rank)
    : roster_(roster),
      rank_(rank),
      announced_(roster.members_size()),
      ahead_(roster.members_size()) {}

absl::Status Arrivals::BeginMine(std::string what) {
  mine_.push_back(std::move(what));
  const uint64_t sequence = begun_++;
  for (int r = 0; r < roster_.members_size(); ++r) {
    if (ahead_[r].empty()) continue;
    const std::string theirs = std::move(ahead_[r].front());
    ahead_[r].pop_front();
    RETURN_IF_ERROR(Compare(r, sequence, theirs));
  }
  Forget();
  return absl::OkStatus();
}

absl::Status Arrivals::Announced(int from, uint64_t sequence, std::string what) {
  if (sequence != announced_[from]) {
    return Internal(
        fmt::format("members disagree about operation {}: {} announced number {} after {}", begun_,
                    MemberName(roster_, from), sequence, announced_[from]));
  }
  ++announced_[from];
  if (sequence >= begun_) {
    ahead_[from].push_back(std::move(what));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Compare(from, sequence, what));
  Forget();
  return absl::OkStatus();
}

std::vector<int> Arrivals::Missing() const {
  std::vector<int> missing;
  for (int r = 0; r < roster_.members_size(); ++r) {
    if (r != rank_ && !HasArrived(r)) missing.push_back(r);
  }
  return missing;
}

absl::Status Arrivals::Compare(int from, uint64_t sequence, const std::string& theirs) const {
  const std::string& mine = mine_[sequence - first_mine_];
  if (mine == theirs) return absl::OkStatus();
  return Internal(
      fmt::format("members disagree about operation {}: this rank {} does {}, {} does {}", sequence,
                  rank_, mine, MemberName(roster_, from), theirs));
}

/// Drops what every other rank has announced: nothing will be compared with it any more.
void Arrivals::Forget() {
  uint64_t slowest = begun_;
  for (int r = 0; r < roster_.members_size(); ++r) {
    if (r != rank_) slowest = std::min(slowest, announced_[r]);
  }
  while (first_mine_ < slowest) {
    mine_.pop_front();
    ++first_mine_;
  }
}

}  // namespace neolog::collective::nccl
