#include "common/base/log.h"
#include "worker/session/blame.h"
#include "worker/session/session_core.h"

namespace neolog::session {

bool Session::Core::connected() const {
  MutexLock lock(mutex_);
  return connected_;
}

bool Session::Core::Send(v1::WorkerMessage message) {
  return with_.uplink->Send(std::move(message));
}

v1::AssignmentReport Session::Core::MakeReport(const char* phase) const {
  v1::AssignmentReport report;
  report.set_team_id(held_.team_id());
  report.set_roster_version(held_.roster().version());
  report.set_phase(phase);
  for (size_t i = 0; prepared_ && i < runs_.size(); ++i) report.add_steps(with_.trainer->StepOf(i));
  return report;
}

void Session::Core::ReportPhase(const char* phase) {
  v1::WorkerMessage message;
  *message.mutable_assignment() = MakeReport(phase);
  Send(std::move(message));
}

void Session::Core::ReportLeft(size_t run) {
  const Run& left = runs_[run];
  const bool failed = left.left == Left::kFailed || left.left == Left::kDiverged;
  v1::WorkerMessage message;
  v1::AssignmentReport& report = *message.mutable_assignment();
  report = MakeReport(failed ? "failed" : "done");
  report.set_run_id(left.id);
  if (failed) *report.mutable_failure() = left.failure;
  Send(std::move(message));
}

void Session::Core::TakeCommits() {
  MutexLock lock(mutex_);
  for (Run& run : runs_) {
    const auto it = committed_.find(run.id);
    if (it != committed_.end()) run.book.OnCommitted(it->second.step());
  }
}

void Session::Core::ReportCommits(bool now) {
  if (!prepared_ || rank_ != reporter_ || !connected()) return;
  const SteadyTime time = with_.clock->SteadyNow();
  if (!now && time - last_report_ < options_.commit_interval) return;
  last_report_ = time;
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i].book.empty()) continue;
    for (v1::CommitReport& piece : runs_[i].book.Pieces(with_.trainer->SaveState(i))) {
      v1::WorkerMessage message;
      v1::CommitReport& report = *message.mutable_commit();
      report = std::move(piece);
      report.set_team_id(held_.team_id());
      report.set_roster_version(held_.roster().version());
      report.set_run_id(runs_[i].id);
      Send(std::move(message));
    }
  }
}

void Session::Core::ReportAgain() {
  uint64_t connections = 0;
  std::string phase;
  {
    MutexLock lock(mutex_);
    connections = connections_;
    phase = progress_.phase();
  }
  const SteadyTime time = with_.clock->SteadyNow();
  const bool stepping = phase == "stepping";
  // While stepping every commit says what is not committed yet, so only a new stream needs more.
  if (connections == seen_connections_ &&
      (stepping || time - last_again_ < options_.retry_interval))
    return;
  seen_connections_ = connections;
  last_again_ = time;
  if (held_.runs().empty() || !connected()) return;
  ReportCommits(/*now=*/true);
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (runs_[i].left != Left::kNo) ReportLeft(i);
  }
  if (phase == "done") ReportPhase("done");
  if (failed_.has_value()) {
    v1::WorkerMessage message;
    *message.mutable_assignment() = *failed_;
    Send(std::move(message));
  }
  if (stuck_ && peer_failure_.has_value()) {
    v1::WorkerMessage message;
    *message.mutable_peer_failure() = *peer_failure_;
    Send(std::move(message));
  }
}

void Session::Core::ReportTrouble(const absl::Status& status) {
  if (stuck_) {
    spdlog::warn("roster {} is over: {}; the model and the states stay, waiting for a new roster",
                 held_.roster().version(), ToStd(status.message()));
    TakeCommits();
    last_again_ = SteadyTime();  // say it at once
    ReportAgain();
    return;
  }
  spdlog::error("cannot go on: {}", status.ToString());
  v1::WorkerMessage message;
  v1::AssignmentReport& report = *message.mutable_assignment();
  report = MakeReport("failed");
  report.mutable_failure()->set_kind(Classify(status) == Trouble::kBadInput
                                         ? v1::RunFailure::KIND_BAD_INPUT
                                         : v1::RunFailure::KIND_DEVICE);
  report.mutable_failure()->set_message(std::string(status.message()));
  report.set_run_id(BlamedRun(status));
  failed_ = report;
  SetPhase("failed");
  ReportCommits(/*now=*/true);
  Send(std::move(message));
}

}  // namespace neolog::session
