#include "worker/collective/peer_fence.h"

#include <fmt/format.h>

namespace neolog::collective {

using Verdict = HelloDecision::Verdict;

HelloDecision DecideHello(const v1::PeerHello& hello, const TeamFence& fence) {
  const uint64_t version = hello.roster_version();
  if (!fence.roster.has_value() || version > fence.roster->version()) {
    return {Verdict::kPark, absl::OkStatus()};
  }
  const v1::Roster& roster = *fence.roster;
  if (version < roster.version()) {
    return {Verdict::kRefuse, FailedPrecondition(fmt::format(
                                  "roster {} of team {} is over: this worker is on roster {}",
                                  version, hello.team_id(), roster.version()))};
  }
  const uint32_t rank = hello.rank();
  if (rank >= static_cast<uint32_t>(roster.members_size()) ||
      roster.members(rank).worker().worker_id() != hello.worker().worker_id() ||
      roster.members(rank).worker().incarnation() != hello.worker().incarnation()) {
    return {Verdict::kRefuse,
            FailedPrecondition(fmt::format(
                "worker {} with incarnation {:016x} is not rank {} of roster {} of team {}",
                hello.worker().worker_id(), hello.worker().incarnation(), rank, version,
                hello.team_id()))};
  }
  if (fence.ended) {
    if (fence.end.ok()) return {Verdict::kFinish, absl::OkStatus()};
    // Its own refusals and mismatches are the peer's too; everything else means that this member is
    // gone.
    const bool shared = fence.end.code() == absl::StatusCode::kInternal;
    return {Verdict::kRefuse, shared ? fence.end
                                     : Unavailable(fmt::format("left roster {}: {}", version,
                                                               ToStd(fence.end.message())))};
  }
  return {Verdict::kAttach, absl::OkStatus()};
}

}  // namespace neolog::collective
