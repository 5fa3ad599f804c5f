#include "worker/session/session_core.h"

#include "common/base/log.h"
#include "worker/collective/link.h"

namespace neolog::session {

Session::Session(const SessionOptions& options, const SessionDependencies& dependencies)
    : core_(std::make_unique<Core>(options, dependencies)) {}
Session::~Session() = default;
void Session::OnAssignment(const v1::Assignment& assignment, const v1::WorkerIdentity& self) {
  core_->OnAssignment(assignment, self);
}
void Session::OnControl(const v1::ControlRequest& control) { core_->OnControl(control); }
void Session::OnCommitted(const v1::Committed& committed) { core_->OnCommitted(committed); }
void Session::OnLatent(const v1::LatentReport& latent) { core_->OnLatent(latent); }
void Session::OnRefused(const v1::Refused& refused) { core_->OnRefused(refused); }
void Session::OnConnection(bool connected) { core_->OnConnection(connected); }
void Session::OnRevoked() { core_->OnRevoked(); }
void Session::Tick() { core_->Tick(); }
v1::Heartbeat Session::Progress() const { return core_->Progress(); }
v1::AssignmentReport Session::Held() const { return core_->Held(); }
void Session::Flush(absl::Duration limit) { core_->Flush(limit); }

Session::Core::Core(const SessionOptions& options, const SessionDependencies& dependencies)
    : options_(options),
      with_(dependencies),
      courier_(dependencies.uplink, dependencies.blobs, options.max_artifact_bytes),
      last_report_(dependencies.clock->SteadyNow()),
      last_again_(last_report_),
      thread_([this] { Loop(); }) {}

Session::Core::~Core() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    ++news_;
    changed_.NotifyAll();
  }
  // An interruption may fall between two calls of the trainer; it is repeated until the thread has
  // ended.
  std::atomic<bool> joined{false};
  std::thread nagger([&] {
    while (!joined) {
      std::shared_ptr<collective::Collective> running;
      {
        MutexLock lock(mutex_);
        running = running_;
      }
      Interrupt(running, Aborted("the worker is ending"));
      MutexLock lock(mutex_);
      changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
    }
  });
  thread_.join();
  joined = true;
  nagger.join();
}

void Session::Core::OnAssignment(const v1::Assignment& assignment, const v1::WorkerIdentity& self) {
  // The one that runs now: when the lock is gone, the session may already be on the next.
  std::shared_ptr<collective::Collective> running;
  {
    MutexLock lock(mutex_);
    running = running_;
    // What it answers to a registration may be what is in work already.
    const v1::Assignment& base = next_.has_value() ? next_->assignment : shown_;
    if (!revoked_ && !distrust_ &&
        DecideAssignment(base, assignment, self).kind == AssignmentDecision::Kind::kIgnore) {
      return;
    }
    controls_.clear();  // those that still count follow the assignment
    next_ = Next{assignment, self};
    ++news_;
    changed_.NotifyAll();
  }
  Interrupt(running,
            Aborted("roster " + std::to_string(assignment.roster().version()) + " has arrived"));
}

void Session::Core::OnRevoked() {
  // The one that runs now: when the lock is gone, the session may already be on the next.
  std::shared_ptr<collective::Collective> running;
  {
    MutexLock lock(mutex_);
    running = running_;
    if (shown_.runs().empty() && !next_.has_value()) return;
    revoked_ = true;
    next_.reset();
    ++news_;
    changed_.NotifyAll();
  }
  Interrupt(running, Aborted("this worker's incarnation is over"));
}

void Session::Core::OnRefused(const v1::Refused& refused) {
  if (refused.code() != v1::Refused::CODE_DIVERGED) return;
  spdlog::error("the coordinator refused this worker's state: {}", refused.message());
  // The one that runs now: when the lock is gone, the session may already be on the next.
  std::shared_ptr<collective::Collective> running;
  {
    MutexLock lock(mutex_);
    running = running_;
    distrust_ = true;
    ++news_;
    changed_.NotifyAll();
  }
  Interrupt(running, Aborted("the coordinator holds another state"));
}

void Session::Core::OnControl(const v1::ControlRequest& control) {
  uint8_t bit = 0;
  switch (control.action()) {
    case v1::ControlRequest::ACTION_PAUSE: bit = kControlPause; break;
    case v1::ControlRequest::ACTION_STOP: bit = kControlStop; break;
    case v1::ControlRequest::ACTION_CHECKPOINT: bit = kControlCheckpoint; break;
    default: return;
  }
  MutexLock lock(mutex_);
  const v1::Assignment& base = next_.has_value() ? next_->assignment : shown_;
  if (base.team_id() != control.team_id()) return;
  controls_[control.run_id()] |= bit;
}

void Session::Core::OnCommitted(const v1::Committed& committed) {
  MutexLock lock(mutex_);
  v1::Committed& latest = committed_[committed.run_id()];
  if (committed.step() >= latest.step()) latest = committed;
  ++news_;
  changed_.NotifyAll();
}

void Session::Core::OnLatent(const v1::LatentReport& latent) {
  MutexLock lock(mutex_);
  std::string& digest = digests_[latent.key()];
  if (digest.empty()) digest = latent.blob_digest();  // "nobody has it" may cross with a choice
  ++news_;
  changed_.NotifyAll();
}

void Session::Core::OnConnection(bool connected) {
  {
    MutexLock lock(mutex_);
    connected_ = connected;
    if (connected) ++connections_;
    ++news_;
    changed_.NotifyAll();
  }
  if (connected) courier_.OnConnected();
}

void Session::Core::Interrupt(const std::shared_ptr<collective::Collective>& running,
                              const absl::Status& why) {
  if (running != nullptr) running->Abort(why);
  with_.trainer->Interrupt();
}

void Session::Core::Tick() {
  std::shared_ptr<collective::Collective> running;
  {
    MutexLock lock(mutex_);
    running = running_;
    if (!stopping_ && !revoked_ && !distrust_ && !next_.has_value()) return;
    if (progress_.phase() == "idle" || progress_.phase() == "waiting") return;
  }
  Interrupt(running, Aborted("a newer assignment has arrived"));
}

v1::Heartbeat Session::Core::Progress() const {
  const uint64_t progress = progress_count_ + with_.trainer->Progress();
  MutexLock lock(mutex_);
  v1::Heartbeat heartbeat = progress_;
  if (heartbeat.phase().empty()) heartbeat.set_phase("idle");
  if (heartbeat.phase() == "waiting") heartbeat.set_phase("regrouping");
  if (heartbeat.phase() == "done" || heartbeat.phase() == "failed") heartbeat.set_phase("idle");
  heartbeat.set_progress(progress);
  heartbeat.set_waits_for(waits_for_);
  return heartbeat;
}

v1::AssignmentReport Session::Core::Held() const {
  MutexLock lock(mutex_);
  v1::AssignmentReport held;
  if (shown_.runs().empty()) return held;
  held.set_team_id(shown_.team_id());
  held.set_roster_version(shown_.roster().version());
  held.set_phase(progress_.phase());
  *held.mutable_steps() = progress_.steps();
  return held;
}

void Session::Core::Flush(absl::Duration limit) {
  courier_.Drain(std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(limit));
}

bool Session::Core::Superseded() const {
  MutexLock lock(mutex_);
  return stopping_ || revoked_ || distrust_ || next_.has_value();
}

absl::Status Session::Core::WaitForNews() {
  const Waits waits(this, v1::Heartbeat::WAITS_FOR_COORDINATOR);
  const auto until =
      std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(options_.retry_interval);
  MutexLock lock(mutex_);
  while (news_ == seen_news_ && changed_.WaitUntil(mutex_, until)) {
  }
  seen_news_ = news_;
  if (stopping_ || revoked_ || distrust_ || next_.has_value()) return Aborted("superseded");
  return absl::OkStatus();
}

void Session::Core::SetPhase(const char* phase) {
  ++progress_count_;
  MutexLock lock(mutex_);
  progress_.set_phase(phase);
  progress_.set_roster_version(held_.runs().empty() ? 0 : held_.roster().version());
}

void Session::Core::NoteSteps() {
  ++progress_count_;
  MutexLock lock(mutex_);
  progress_.clear_steps();
  for (size_t i = 0; prepared_ && i < runs_.size(); ++i)
    progress_.add_steps(with_.trainer->StepOf(i));
}

void Session::Core::Loop() {
  for (;;) {
    std::optional<Next> next;
    bool forget = false;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      if (distrust_ || revoked_) {
        forget = distrust_;
        distrust_ = revoked_ = false;
        stuck_ = true;  // until the next assignment
      }
      next.swap(next_);
    }
    if (forget) {
      prepared_ = false;
      runs_.clear();
    }
    absl::Status status;
    if (next.has_value()) {
      status = Take(std::move(*next));
      if (status.ok()) status = Work();
      {
        MutexLock lock(mutex_);
        running_.reset();
      }
      collective_.reset();
    }
    if (!status.ok() && !Superseded()) ReportTrouble(status);
    while (WaitForNews().ok()) {
      TakeCommits();
      ReportAgain();
    }
  }
}

absl::Status Session::Core::Work() {
  if (held_.runs().empty()) return absl::OkStatus();
  RETURN_IF_ERROR(Regroup());
  return Steps();
}

}  // namespace neolog::session
