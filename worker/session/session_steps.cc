#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/base/log.h"
#include "worker/session/session_core.h"

namespace neolog::session {

GatherHeader Session::Core::MakeHeader() const {
  GatherHeader header{.roster_version = held_.roster().version()};
  MutexLock lock(mutex_);
  header.connected = connected_;
  for (size_t i = 0; i < runs_.size(); ++i) {
    const auto control = controls_.find(runs_[i].id);
    header.runs.push_back({.step = with_.trainer->StepOf(i),
                           .hash = with_.trainer->HashOf(i),
                           .control = control == controls_.end() ? uint8_t{0} : control->second,
                           .left = runs_[i].left});
  }
  return header;
}

std::vector<RunLine> Session::Core::LinesOf(const std::vector<GatherHeader>& headers,
                                            size_t run) const {
  std::vector<RunLine> lines;
  for (const GatherHeader& header : headers) lines.push_back(header.runs[run]);
  return lines;
}

void Session::Core::NoteReporter(const std::vector<GatherHeader>& headers) {
  std::vector<bool> connected;
  for (const GatherHeader& header : headers) connected.push_back(header.connected);
  const ReporterDecision decision = DecideReporter(connected);
  reporter_ = decision.rank;
  if (decision.reason != reporter_reason_)
    spdlog::info("commits are reported by rank {}: {}", decision.rank, decision.reason);
  reporter_reason_ = decision.reason;
}

bool Session::Core::FailDiverged(const std::vector<GatherHeader>& headers) {
  bool any = false;
  for (size_t i = 0; i < runs_.size(); ++i) {
    const CatchUpDecision decision = DecideCatchUp(LinesOf(headers, i));
    if (decision.diverged.empty() || runs_[i].left == Left::kDiverged) continue;
    any = true;
    v1::RunFailure failure;
    failure.set_kind(v1::RunFailure::KIND_DIVERGED);
    failure.set_step(with_.trainer->StepOf(i));
    std::string names;
    for (const int rank : decision.diverged) {
      names += (names.empty() ? "" : ", ") + held_.roster().members(rank).worker().worker_id();
    }
    failure.set_message(fmt::format(
        "members disagree about the run's state: {} (odd: {}); the last committed state is "
        "kept: check that machine, then resume the run",
        decision.reason, names));
    LeaveRun(i, Left::kDiverged, failure);
  }
  return any;
}

absl::Status Session::Core::Steps() {
  SetPhase("stepping");
  ReportPhase("stepping");
  while (!with_.trainer->ActiveRuns().empty()) {
    if (Superseded()) return Aborted("superseded");
    TakeCommits();
    ReportAgain();
    ReportCommits(/*now=*/false);
    RETURN_IF_ERROR(Step());
  }
  SetPhase("done");
  ReportCommits(/*now=*/true);
  ReportPhase("done");
  return absl::OkStatus();
}

absl::StatusOr<std::string> Session::Core::ComputeMine(MicrobatchRange range) {
  // What was computed for this very step from these very states is as good as new after a regroup.
  std::string key;
  for (const size_t run : with_.trainer->ActiveRuns()) {
    key +=
        fmt::format("{}:{}:{:016x} ", run, with_.trainer->StepOf(run), with_.trainer->HashOf(run));
  }
  if (key != cached_for_) cached_.clear();
  cached_for_ = key;
  std::string payload;
  for (uint32_t i = range.first; i < range.first + range.count; ++i) {
    if (!cached_.contains(i)) {
      ASSIGN_OR_RETURN(cached_[i], Persist([&] {
                         return with_.trainer->ComputeMicrobatches({i, 1});
                       }));
      ++progress_count_;
    }
    payload += cached_[i];
  }
  const size_t expected = range.count == 0 ? 0 : with_.trainer->PayloadSize(range);
  if (payload.size() != expected) {
    return Internal(fmt::format("microbatches {}..{} gave {} bytes instead of {}", range.first,
                                range.first + range.count, payload.size(), expected));
  }
  return payload;
}

absl::Status Session::Core::Step() {
  const int size = held_.roster().members_size();
  const uint32_t count = with_.trainer->MicrobatchCount();
  const MicrobatchRange mine = SliceOf(count, rank_, size);
  if (const std::vector<std::string> missing = with_.trainer->MissingLatents(mine);
      !missing.empty()) {
    RETURN_IF_ERROR(SetLatents(missing));
    SetPhase("stepping");
  }
  ASSIGN_OR_RETURN(const std::string payload, ComputeMine(mine));
  const bool sums = with_.trainer->SumsPayloads();
  std::vector<size_t> shares;  // what each rank sends
  for (int r = 0; r < size; ++r) {
    const MicrobatchRange range = SliceOf(count, r, size);
    shares.push_back(sums || range.count == 0 ? 0 : with_.trainer->PayloadSize(range));
  }
  std::string payloads;
  std::vector<GatherHeader> headers;
  RETURN_IF_ERROR(GatherStep(sums ? std::string_view() : payload, shares, headers, payloads));
  NoteReporter(headers);
  if (FailDiverged(headers))
    return absl::OkStatus();  // the others' step is computed again, without those runs
  for (size_t i = 0; i < runs_.size(); ++i) {
    for (const RunLine& line : LinesOf(headers, i)) {
      if (line.step != headers[rank_].runs[i].step || line.left != headers[rank_].runs[i].left) {
        return Lost(
            Internal(fmt::format("ranks gather for different steps of run {}", runs_[i].id)));
      }
    }
  }
  if (!sums) return Apply(payloads, headers);
  ASSIGN_OR_RETURN(std::vector<float> values, with_.trainer->SumPayload(payload, mine));
  if (const absl::Status status = AllReduceSum(values); !status.ok()) return Lost(status);
  return Apply({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)},
               headers);
}

absl::Status Session::Core::GatherStep(std::string_view mine, const std::vector<size_t>& shares,
                                       std::vector<GatherHeader>& headers, std::string& payloads) {
  std::string send;
  EncodeGatherHeader(MakeHeader(), send);
  send += mine;
  const size_t header_size = GatherHeaderSize(runs_.size());
  std::vector<size_t> sizes = shares;
  for (size_t& size : sizes) size += header_size;
  std::vector<std::byte> receive(std::accumulate(sizes.begin(), sizes.end(), size_t{0}));
  if (const absl::Status status = AllGather(std::as_bytes(std::span(send)), sizes, receive);
      !status.ok()) {
    return Lost(status);
  }
  ++progress_count_;
  std::span<const std::byte> rest(receive);
  for (const size_t part : sizes) {
    auto decoded =
        DecodeGatherHeader(rest.first(header_size), runs_.size(), held_.roster().version());
    if (!decoded.ok()) return Lost(decoded.status());
    headers.push_back(std::move(decoded).value());
    payloads.append(reinterpret_cast<const char*>(rest.data()) + header_size, part - header_size);
    rest = rest.subspan(part);
  }
  return absl::OkStatus();
}

absl::Status Session::Core::Apply(std::string_view payloads,
                                  const std::vector<GatherHeader>& headers) {
  ASSIGN_OR_RETURN(const std::vector<RunStep> taken, with_.trainer->ApplyStep(payloads));
  cached_.clear();
  bool commit = false;
  for (const RunStep& step : taken) {
    Run& run = runs_[step.run];
    if (step.refused) {
      LeaveRun(step.run, Left::kFailed, step.failure);
      continue;
    }
    const bool keep = run.checkpoint_every > 0 && step.record.step() % run.checkpoint_every == 0;
    run.book.Append(step.record, keep ? with_.trainer->SaveState(step.run) : std::string());
    commit |= keep;
  }
  NoteSteps();
  if (commit) ReportCommits(/*now=*/true);
  for (const RunStep& step : taken) {
    if (!step.refused) RETURN_IF_ERROR(MakeArtifacts(step.run));
  }
  const std::vector<size_t> active = with_.trainer->ActiveRuns();
  for (size_t i = 0; i < runs_.size(); ++i) {
    uint8_t bits = 0;
    for (const GatherHeader& header : headers) bits |= header.runs[i].control;
    if (bits == 0 || runs_[i].left != Left::kNo) continue;
    const bool still_active = std::find(active.begin(), active.end(), i) != active.end();
    const ControlDecision decision = DecideControl(bits, still_active);
    spdlog::info("run {}, after step {}: {}", runs_[i].id, with_.trainer->StepOf(i),
                 decision.reason);
    {
      MutexLock lock(mutex_);
      controls_[runs_[i].id] &= static_cast<uint8_t>(~bits);
    }
    if (decision.leave != Left::kNo) {
      LeaveRun(i, decision.leave);
    } else if (decision.commit) {
      ReportCommits(/*now=*/true);
    }
  }
  return absl::OkStatus();
}

void Session::Core::LeaveRun(size_t run, Left why, const v1::RunFailure& failure) {
  with_.trainer->RemoveRun(run);
  runs_[run].left = why;
  runs_[run].failure = failure;
  ReportCommits(/*now=*/true);
  ReportLeft(run);
}

absl::StatusOr<Trainer::Artifact> Session::Core::MakeArtifact(size_t run, uint32_t index) {
  if (const std::vector<std::string> missing = with_.trainer->MissingLatentsOfArtifact(run, index);
      !missing.empty()) {
    RETURN_IF_ERROR(SetLatents(missing));
    SetPhase("stepping");
  }
  return with_.trainer->MakeArtifact(run, index);
}

absl::Status Session::Core::MakeArtifacts(size_t run) {
  const uint32_t count = with_.trainer->ArtifactCount(run);
  const auto members = static_cast<uint32_t>(held_.roster().members_size());
  for (uint32_t index = static_cast<uint32_t>(rank_); index < count; index += members) {
    for (;;) {
      if (Superseded()) return Aborted("superseded");
      absl::StatusOr<Trainer::Artifact> made = MakeArtifact(run, index);
      ++progress_count_;
      if (made.ok()) {
        courier_.Add(std::move(made->report), std::move(made->bytes));
      } else if (Classify(made.status()) == Trouble::kSuperseded) {
        continue;
      } else {
        spdlog::warn("run {}, after step {}: artifact {} could not be made: {}", runs_[run].id,
                     with_.trainer->StepOf(run), index, ToStd(made.status().message()));
      }
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace neolog::session
