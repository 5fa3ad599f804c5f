#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "worker/session/courier.h"
#include "worker/session/decisions.h"
#include "worker/session/gather_header.h"
#include "worker/session/record_book.h"
#include "worker/session/session.h"

namespace neolog::session {

/// The session's thread and what it works on. Members without GUARDED_BY belong to that thread.
class Session::Core {
 public:
  Core(const SessionOptions& options, const SessionDependencies& dependencies);
  ~Core();

  // From any thread; see Session.
  void OnAssignment(const v1::Assignment& assignment, const v1::WorkerIdentity& self);
  void OnControl(const v1::ControlRequest& control);
  void OnCommitted(const v1::Committed& committed);
  void OnLatent(const v1::LatentReport& latent);
  void OnRefused(const v1::Refused& refused);
  void OnConnection(bool connected);
  void OnRevoked();
  void Tick();
  v1::Heartbeat Progress() const;
  v1::AssignmentReport Held() const;
  void Flush(absl::Duration limit);

 private:
  /// One run of the pack.
  struct Run {
    std::string id;
    uint64_t checkpoint_every = 0;
    RecordBook book;
    Left left = Left::kNo;
    v1::RunFailure failure;
  };
  /// A posterior that this worker encoded.
  struct Encoded {
    std::string digest;
    std::string bytes;
  };
  /// Tells heartbeats, while it lives, that this thread waits for others.
  class Waits {
   public:
    Waits(Core* core, v1::Heartbeat::WaitsFor what) : core_(core) { core_->waits_for_ = what; }
    ~Waits() { core_->waits_for_ = v1::Heartbeat::WAITS_FOR_NOTHING; }
    Waits(const Waits&) = delete;
    Waits& operator=(const Waits&) = delete;

   private:
    Core* const core_;
  };
  struct Next {
    v1::Assignment assignment;
    v1::WorkerIdentity self;
  };

  // session_core.cc: the thread, and waiting.
  void Loop();
  /// Works until superseded, done or stuck. The status says why it ended; Aborted: superseded.
  absl::Status Work();
  bool Superseded() const;
  /// Waits for anything to happen, at most retry_interval. Aborted when superseded.
  absl::Status WaitForNews();
  /// Stops what blocks the session's thread; `running` is the collective that was running when this
  /// was decided.
  void Interrupt(const std::shared_ptr<collective::Collective>& running, const absl::Status& why);
  void SetPhase(const char* phase);
  void NoteSteps();
  /// Runs `call` until it is neither interrupted by accident nor short of the coordinator.
  template <typename Call>
  auto Persist(const Call& call) -> decltype(call());

  // session_assignment.cc: taking an assignment, regrouping.
  absl::Status Take(Next next);
  absl::Status Prepare(const v1::Assignment& assignment);
  absl::Status TakeCommittedStates(const v1::Assignment& assignment);
  absl::Status Regroup();
  /// The collective's operations, said to be waited in.
  absl::Status AllGather(std::span<const std::byte> send, const std::vector<size_t>& sizes,
                         std::span<std::byte> receive);
  absl::Status AllReduceSum(std::span<float> values);
  absl::Status Broadcast(int source, std::span<std::byte> bytes);
  absl::Status CatchUpRun(size_t run, const std::vector<RunLine>& lines, const std::string& mine);
  /// The roster's collective failed: only a new assignment helps. Returns `status`.
  absl::Status Lost(const absl::Status& status);

  // session_latents.cc: posteriors, when a step first needs them.
  absl::Status SetLatents(const std::vector<std::string>& keys);
  absl::StatusOr<std::string> LatentAnswer(const std::string& key, bool chosen);
  std::optional<std::string> KnownDigest(const std::string& key) const;
  void SayLatent(const std::string& key);

  // session_steps.cc: the steps.
  absl::Status Steps();
  absl::Status Step();
  absl::StatusOr<std::string> ComputeMine(MicrobatchRange range);
  /// Every rank's header and payload, the latter behind one another; `shares` are their sizes.
  absl::Status GatherStep(std::string_view mine, const std::vector<size_t>& shares,
                          std::vector<GatherHeader>& headers, std::string& payloads);
  absl::Status Apply(std::string_view payloads, const std::vector<GatherHeader>& headers);
  void LeaveRun(size_t run, Left why, const v1::RunFailure& failure = {});
  absl::StatusOr<Trainer::Artifact> MakeArtifact(size_t run, uint32_t index);
  absl::Status MakeArtifacts(size_t run);
  GatherHeader MakeHeader() const;
  /// Fails runs whose states differ although their steps are equal. True when there were some.
  bool FailDiverged(const std::vector<GatherHeader>& headers);
  std::vector<RunLine> LinesOf(const std::vector<GatherHeader>& headers, size_t run) const;
  void NoteReporter(const std::vector<GatherHeader>& headers);

  // session_reports.cc: what the coordinator is told.
  void TakeCommits();
  void ReportCommits(bool now);
  void ReportLeft(size_t run);
  void ReportPhase(const char* phase);
  /// Says again what has no answer yet: at once on a new stream, else every retry_interval.
  void ReportAgain();
  void ReportTrouble(const absl::Status& status);
  bool Send(v1::WorkerMessage message);
  v1::AssignmentReport MakeReport(const char* phase) const;
  bool connected() const;

  const SessionOptions options_;
  const SessionDependencies with_;
  Courier courier_;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool revoked_ GUARDED_BY(mutex_) = false;
  bool distrust_ GUARDED_BY(mutex_) = false;
  std::optional<Next> next_ GUARDED_BY(mutex_);
  bool connected_ GUARDED_BY(mutex_) = false;
  uint64_t news_ GUARDED_BY(mutex_) = 0;         // counts everything that WaitForNews wakes for
  uint64_t connections_ GUARDED_BY(mutex_) = 0;  // counts registered streams
  std::map<std::string, uint8_t> controls_ GUARDED_BY(mutex_);         // bits by run id
  std::map<std::string, v1::Committed> committed_ GUARDED_BY(mutex_);  // the latest by run id
  std::map<std::string, std::string> digests_
      GUARDED_BY(mutex_);  // posterior blobs by key; empty: nobody has it
  std::shared_ptr<collective::Collective> running_ GUARDED_BY(mutex_);  // what Interrupt aborts
  v1::Assignment shown_ GUARDED_BY(mutex_);                             // held_, for other threads
  v1::Heartbeat progress_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> progress_count_{0};
  std::atomic<v1::Heartbeat::WaitsFor> waits_for_{v1::Heartbeat::WAITS_FOR_NOTHING};

  v1::Assignment held_;  // in work; without runs when idle
  v1::WorkerIdentity self_;
  int rank_ = 0;
  std::vector<Run> runs_;  // in pack order
  bool prepared_ = false;  // the trainer has held_'s pack
  bool stuck_ = false;     // the roster's collective is dead: only a new assignment helps
  std::optional<v1::PeerFailure> peer_failure_;
  std::optional<v1::AssignmentReport> failed_;  // why this worker cannot go on with held_
  int reporter_ = 0;
  std::string reporter_reason_;
  uint64_t seen_connections_ = 0;
  uint64_t seen_news_ = 0;
  SteadyTime last_report_;                  // of commits
  SteadyTime last_again_;                   // of everything that waits for an answer
  std::map<std::string, Encoded> encoded_;  // here, by key, until the coordinator has chosen
  std::string cached_for_;                  // the states that cached_ was computed from
  std::map<uint32_t, std::string> cached_;  // payloads by microbatch, for the step tried again
  std::shared_ptr<collective::Collective> collective_;
  std::thread thread_;  // last: it uses the members above
};

template <typename Call>
auto Session::Core::Persist(const Call& call) -> decltype(call()) {
  for (;;) {
    auto result = call();
    const absl::Status& status = status_internal::StatusOf(result);
    if (status.ok()) return result;
    if (Superseded()) return absl::Status(Aborted("superseded"));
    switch (Classify(status)) {
      case Trouble::kSuperseded: continue;  // interrupted for something that is over
      case Trouble::kTryAgain: RETURN_IF_ERROR(WaitForNews()); continue;
      default: return result;
    }
  }
}

}  // namespace neolog::session
