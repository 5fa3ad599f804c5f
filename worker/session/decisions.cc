#include "worker/session/decisions.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <map>

namespace neolog::session {

MicrobatchRange SliceOf(uint32_t count, int rank, int size) {
  const auto bound = [&](int r) {
    return static_cast<uint32_t>(uint64_t{count} * static_cast<uint64_t>(r) /
                                 static_cast<uint64_t>(size));
  };
  return {.first = bound(rank), .count = bound(rank + 1) - bound(rank)};
}

CatchUpDecision DecideCatchUp(std::span<const RunLine> lines) {
  CatchUpDecision decision;
  for (size_t r = 1; r < lines.size(); ++r) {
    const RunLine& best = lines[decision.source];
    if (std::pair(lines[r].step, lines[r].left) > std::pair(best.step, best.left))
      decision.source = static_cast<int>(r);
  }
  const RunLine& source = lines[decision.source];
  decision.left = source.left;
  std::map<uint64_t, int> votes;
  size_t behind = 0;
  for (const RunLine& line : lines) {
    if (line.step == source.step) ++votes[line.hash];
    if (line.step != source.step || line.left != source.left) ++behind;
  }
  if (votes.size() > 1) {
    // Most votes; among equals the hash of the lowest rank that has one of them.
    int most = 0;
    uint64_t majority = 0;
    for (const RunLine& line : lines) {
      if (line.step == source.step && votes[line.hash] > most) {
        most = votes[line.hash];
        majority = line.hash;
      }
    }
    for (size_t r = 0; r < lines.size(); ++r) {
      if (lines[r].step == source.step && lines[r].hash != majority)
        decision.diverged.push_back(static_cast<int>(r));
    }
    decision.left = Left::kDiverged;
    decision.reason = fmt::format(
        "after step {} rank {} has another state than {} other rank(s): a fault in its memory "
        "or device, or a different build",
        source.step, fmt::join(decision.diverged, ", "), most);
    return decision;
  }
  decision.needed = behind > 0;
  decision.reason = behind == 0
                        ? fmt::format("all ranks are at step {}", source.step)
                        : fmt::format("{} rank(s) take the state after step {} from rank {}",
                                      behind, source.step, decision.source);
  return decision;
}

ReporterDecision DecideReporter(const std::vector<bool>& connected) {
  for (size_t r = 0; r < connected.size(); ++r) {
    if (connected[r]) {
      return {static_cast<int>(r), r == 0
                                       ? "rank 0 is connected"
                                       : fmt::format("rank {} is the lowest that is connected", r)};
    }
  }
  return {0, "no rank is connected: rank 0 reports when the coordinator is back"};
}

ControlDecision DecideControl(uint8_t bits, bool still_active) {
  if (bits == 0) return {.reason = "nothing asked"};
  if (!still_active) return {.commit = true, .reason = "the run is over anyway"};
  if ((bits & kControlStop) != 0)
    return {Left::kStopped, true, "stop: every rank read it at this step"};
  if ((bits & kControlPause) != 0)
    return {Left::kPaused, true, "pause: every rank read it at this step"};
  return {.commit = true, .reason = "checkpoint: every rank read it at this step"};
}

AssignmentDecision DecideAssignment(const v1::Assignment& held, const v1::Assignment& next,
                                    const v1::WorkerIdentity& self) {
  using Kind = AssignmentDecision::Kind;
  if (next.runs().empty()) return {Kind::kIdle, "no runs assigned"};
  if (held.team_id() == next.team_id() && !held.runs().empty() &&
      next.roster().version() <= held.roster().version()) {
    return {Kind::kIgnore, fmt::format("roster {} is not newer than {}", next.roster().version(),
                                       held.roster().version())};
  }
  const auto is_self = [&](const v1::RosterMember& member) {
    return member.worker().worker_id() == self.worker_id() &&
           member.worker().incarnation() == self.incarnation();
  };
  if (std::none_of(next.roster().members().begin(), next.roster().members().end(), is_self)) {
    return {Kind::kIdle,
            fmt::format("roster {} does not name this worker", next.roster().version())};
  }
  const bool same_profile =
      google::protobuf::util::MessageDifferencer::Equals(held.profile(), next.profile());
  bool same_runs = held.runs_size() == next.runs_size() && held.team_id() == next.team_id();
  for (int i = 0; same_runs && i < next.runs_size(); ++i) {
    same_runs = held.runs(i).run_id() == next.runs(i).run_id() &&
                google::protobuf::util::MessageDifferencer::Equals(held.runs(i).spec(),
                                                                   next.runs(i).spec());
  }
  if (same_runs && same_profile)
    return {Kind::kRegroup, "same pack, new roster: " + next.roster().reason()};
  return {Kind::kPrepare, held.runs().empty() ? "a first assignment" : "another pack"};
}

StateDecision DecideState(uint64_t held_step, uint64_t held_hash, uint64_t known_hash,
                          const v1::RunAssignment& assigned) {
  const uint64_t committed = assigned.committed_step();
  if (held_step < committed) {
    return {true, fmt::format("step {} is committed, memory has step {}", committed, held_step)};
  }
  const uint64_t mine = held_step == committed ? held_hash : known_hash;
  if (committed > 0 && mine != 0 && mine != assigned.committed_hash()) {
    return {true,
            fmt::format("memory had another state after step {} than is committed", committed)};
  }
  return {false, fmt::format("memory has step {}, committed is {}", held_step, committed)};
}

Trouble Classify(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled: return Trouble::kSuperseded;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: return Trouble::kTryAgain;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented: return Trouble::kBadInput;
    default: return Trouble::kDevice;
  }
}

}  // namespace neolog::session
