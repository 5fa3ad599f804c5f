#include <fmt/format.h>

#include <algorithm>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "worker/collective/link.h"
#include "worker/session/blame.h"
#include "worker/session/session_core.h"

namespace neolog::session {

absl::Status Session::Core::Take(Next next) {
  using Kind = AssignmentDecision::Kind;
  const AssignmentDecision decision = DecideAssignment(held_, next.assignment, next.self);
  if (decision.kind == Kind::kIgnore) return Aborted(decision.reason);
  spdlog::info("assignment of team '{}', roster {}: {}", next.assignment.team_id(),
               next.assignment.roster().version(), decision.reason);
  const bool same_team = held_.team_id() == next.assignment.team_id();
  self_ = next.self;
  stuck_ = false;
  peer_failure_.reset();
  failed_.reset();
  reporter_ = 0;
  {
    MutexLock lock(mutex_);
    if (decision.kind == Kind::kIdle) next.assignment.Clear();
    held_ = next.assignment;
    shown_ = held_;
    progress_.clear_steps();
    for (const v1::LatentReport& latent : held_.latents())
      digests_[latent.key()] = latent.blob_digest();
    std::erase_if(committed_, [&](const auto& entry) {
      return std::none_of(
          held_.runs().begin(), held_.runs().end(),
          [&](const v1::RunAssignment& run) { return run.run_id() == entry.first; });
    });
  }
  if (decision.kind == Kind::kIdle) {
    runs_.clear();
    prepared_ = false;
    SetPhase("idle");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(rank_, collective::RankOf(held_.roster(), self_));
  if (!same_team) {
    runs_.clear();
    cached_.clear();
  }
  if (prepared_ && decision.kind == Kind::kRegroup) return TakeCommittedStates(held_);
  return Prepare(held_);
}

absl::Status Session::Core::Prepare(const v1::Assignment& assignment) {
  SetPhase("loading");
  ReportPhase("loading");
  struct Kept {
    Run run;
    uint64_t step;
    std::string state;
  };
  std::map<std::string, Kept> kept;
  for (size_t i = 0; prepared_ && i < runs_.size(); ++i) {
    const std::string id = runs_[i].id;
    kept[id] = {std::move(runs_[i]), with_.trainer->StepOf(i), with_.trainer->SaveState(i)};
  }
  runs_.clear();
  prepared_ = false;
  cached_.clear();
  RETURN_IF_ERROR(Persist([&] { return with_.trainer->Prepare(assignment); }));
  prepared_ = true;
  for (const v1::RunAssignment& assigned : assignment.runs()) {
    Run run;
    run.id = assigned.run_id();
    run.checkpoint_every = assigned.spec().checkpoint().every_steps();
    run.book.Reset(assigned.committed_step());
    const size_t index = runs_.size();
    if (const auto it = kept.find(run.id);
        it != kept.end() && it->second.step > assigned.committed_step()) {
      // The pack changed around this run; its own steps beyond the committed ones are still good.
      RETURN_IF_ERROR(with_.trainer->LoadState(index, it->second.state));
      run = std::move(it->second.run);
      run.book.OnCommitted(assigned.committed_step());
      if (run.left != Left::kNo) with_.trainer->RemoveRun(index);
    }
    runs_.push_back(std::move(run));
  }
  NoteSteps();
  return absl::OkStatus();
}

absl::Status Session::Core::TakeCommittedStates(const v1::Assignment& assignment) {
  for (size_t i = 0; i < runs_.size(); ++i) {
    const v1::RunAssignment& assigned = assignment.runs(static_cast<int>(i));
    Run& run = runs_[i];
    const StateDecision decision =
        DecideState(with_.trainer->StepOf(i), with_.trainer->HashOf(i),
                    run.book.HashAfter(assigned.committed_step()), assigned);
    if (decision.take_committed) {
      spdlog::info("run {}: takes the committed state: {}", run.id, decision.reason);
      RETURN_IF_ERROR(BlameRun(with_.trainer->LoadState(i, assigned.committed_state()), run.id));
      run.book.Reset(assigned.committed_step());
    } else {
      run.book.OnCommitted(assigned.committed_step());
    }
  }
  NoteSteps();
  return absl::OkStatus();
}

absl::Status Session::Core::Lost(const absl::Status& status) {
  stuck_ = true;
  if (Superseded()) return Aborted("superseded");
  SetPhase("waiting");
  const int size = held_.roster().members_size();
  int lost = collective::LostRank(status);
  if (lost < 0) lost = (rank_ + 1) % size;  // ranks that disagree are all suspects
  v1::PeerFailure failure;
  failure.set_team_id(held_.team_id());
  failure.set_roster_version(held_.roster().version());
  *failure.mutable_peer() = held_.roster().members(lost).worker();
  failure.set_message(std::string(status.message()));
  if (size > 1) peer_failure_ = failure;
  return status;
}

absl::Status Session::Core::AllGather(std::span<const std::byte> send,
                                      const std::vector<size_t>& sizes,
                                      std::span<std::byte> receive) {
  const Waits waits(this, v1::Heartbeat::WAITS_FOR_PEERS);
  return collective_->AllGather(send, sizes, receive);
}

absl::Status Session::Core::AllReduceSum(std::span<float> values) {
  const Waits waits(this, v1::Heartbeat::WAITS_FOR_PEERS);
  return collective_->AllReduceSum(values);
}

absl::Status Session::Core::Broadcast(int source, std::span<std::byte> bytes) {
  const Waits waits(this, v1::Heartbeat::WAITS_FOR_PEERS);
  return collective_->Broadcast(source, bytes);
}

absl::Status Session::Core::Regroup() {
  SetPhase("regrouping");
  // A failed Create leaves this worker without this roster, like a collective that died.
  auto created = [&] {
    const Waits waits(this, v1::Heartbeat::WAITS_FOR_PEERS);
    return with_.collectives->Create(held_.roster(), self_);
  }();
  if (!created.ok()) return Lost(created.status());
  collective_ = std::move(created).value();
  {
    MutexLock lock(mutex_);
    running_ = collective_;
  }
  if (Superseded()) return Aborted("superseded");

  GatherHeader header = MakeHeader();
  std::vector<std::string> mine(runs_.size());
  for (size_t i = 0; i < runs_.size(); ++i) {
    CatchUp catch_up{.pieces = runs_[i].book.Pieces(with_.trainer->SaveState(i)),
                     .failure = runs_[i].failure};
    if (catch_up.pieces.empty() || catch_up.pieces.back().state() != with_.trainer->SaveState(i)) {
      catch_up.pieces.emplace_back().set_state(with_.trainer->SaveState(i));
    }
    mine[i] = EncodeCatchUp(catch_up);
    header.runs[i].catch_up_bytes = mine[i].size();
  }
  std::string send;
  EncodeGatherHeader(header, send);
  const std::vector<size_t> sizes(held_.roster().members_size(), send.size());
  std::vector<std::byte> receive(send.size() * sizes.size());
  if (const absl::Status status = AllGather(std::as_bytes(std::span(send)), sizes, receive);
      !status.ok()) {
    return Lost(status);
  }
  ++progress_count_;
  std::vector<GatherHeader> headers;
  for (size_t r = 0; r < sizes.size(); ++r) {
    auto decoded = DecodeGatherHeader(std::span(receive).subspan(r * send.size(), send.size()),
                                      runs_.size(), held_.roster().version());
    if (!decoded.ok()) return Lost(decoded.status());
    headers.push_back(std::move(decoded).value());
  }
  NoteReporter(headers);
  FailDiverged(headers);
  for (size_t i = 0; i < runs_.size(); ++i) {
    RETURN_IF_ERROR(CatchUpRun(i, LinesOf(headers, i), mine[i]));
  }
  NoteSteps();
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i].left != Left::kNo) ReportLeft(i);
  }
  ReportCommits(/*now=*/true);
  return absl::OkStatus();
}

absl::Status Session::Core::CatchUpRun(size_t run, const std::vector<RunLine>& lines,
                                       const std::string& mine) {
  const CatchUpDecision decision = DecideCatchUp(lines);
  if (!decision.needed) return absl::OkStatus();
  const RunLine& source = lines[decision.source];
  const RunLine& own = lines[rank_];
  std::string bytes = decision.source == rank_ ? mine : std::string(source.catch_up_bytes, '\0');
  const absl::Status sent = Broadcast(decision.source, std::as_writable_bytes(std::span(bytes)));
  if (!sent.ok()) return Lost(sent);
  ++progress_count_;
  if (own.step == source.step && own.left == source.left) return absl::OkStatus();
  spdlog::info("run {}: {}", runs_[run].id, decision.reason);
  auto catch_up = DecodeCatchUp(bytes);
  if (!catch_up.ok()) return Lost(catch_up.status());
  if (own.step != source.step) {
    const std::string& state = catch_up->pieces.back().state();
    if (Hash64(state) != source.hash) return Lost(Internal("a peer's state does not fit its hash"));
    RETURN_IF_ERROR(with_.trainer->LoadState(run, state));
    const uint64_t committed = runs_[run].book.committed();
    runs_[run].book.Adopt(source.step, catch_up->pieces);
    runs_[run].book.OnCommitted(committed);
  }
  if (source.left != Left::kNo) {
    with_.trainer->RemoveRun(run);
    runs_[run].left = source.left;
    runs_[run].failure = catch_up->failure;
  }
  return absl::OkStatus();
}

}  // namespace neolog::session
