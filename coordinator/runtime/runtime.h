#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/storage/blob_store.h"
#include "coordinator/core/engine.h"
#include "coordinator/journal/journal.h"
#include "coordinator/runtime/event_ring.h"

namespace neolog::coordinator {

/// The coordinator's end of a worker's stream. Calls come from the runtime's writer thread, in
/// order, and must not block.
class WorkerLink {
 public:
  virtual ~WorkerLink() = default;
  virtual void Send(v1::CoordinatorMessage message) = 0;
  /// The stream ends behind what was sent. More than one call has no effect.
  virtual void Close() = 0;
};

/// Sees every batch once it is durable, in order, on the writer thread; must not block.
class BatchObserver {
 public:
  virtual ~BatchObserver() = default;
  virtual void OnDurable(const JournalBatch& batch) = 0;
};

/// Looks at the disk before a run is accepted.
class LogDirectories {
 public:
  virtual ~LogDirectories() = default;
  /// The folder for a run's results. AlreadyExists when it holds another run; InvalidArgument when
  /// it cannot be one.
  virtual absl::StatusOr<std::string> CheckFree(const v1::RunSpec& spec) = 0;
};

/// How the runtime behaves.
struct RuntimeOptions {
  CoreOptions core;
  /// How often leases, suspicions and the queue are looked at.
  absl::Duration tick = absl::Milliseconds(50);
  /// Events held for watchers.
  size_t event_capacity = 4096;
};

/// What the runtime works with; none is owned, all must outlive it.
struct RuntimeDependencies {
  Journal* journal = nullptr;
  BlobStore* blobs = nullptr;
  Clock* clock = nullptr;
  Timers* timers = nullptr;
  LogDirectories* directories = nullptr;
  /// May be null.
  BatchObserver* observer = nullptr;
  /// 64 random bits, for run ids.
  std::function<uint64_t()> random;
  /// Called once, on the writer thread, when the journal cannot be written or a decision
  /// contradicts the books: nothing more is decided; the program is to end and be started again.
  std::function<void(const absl::Status&)> on_fatal;
};

/// Drives the engine. Events come from any thread and are decided one at a time; what they lead to
/// is queued, and one writer thread makes everything that waits durable in one transaction (group
/// commit), then sends messages, replies and events in the order of the decisions. So nothing is
/// seen outside that a crash could take back.
class Runtime {
 public:
  template <typename T>
  using Reply = std::function<void(absl::StatusOr<T>)>;

  /// Replays the journal and starts. Errors of the journal.
  static absl::StatusOr<std::unique_ptr<Runtime>> Create(const RuntimeOptions& options,
                                                         RuntimeDependencies dependencies);
  /// As Stop.
  ~Runtime();

  // Streams of workers.
  LinkId OpenLink(std::shared_ptr<WorkerLink> link);
  void OnMessage(LinkId link, const v1::WorkerMessage& message);
  /// The stream is over; nothing more is sent to the link.
  void OnLinkClosed(LinkId link);

  // Requests. Replies come on the writer thread, or on the caller's when the request is refused at
  // once.
  void Submit(const v1::SubmitRunRequest& request, Reply<v1::SubmitRunResponse> reply);
  void StopRun(const v1::StopRunRequest& request, Reply<v1::StopRunResponse> reply);
  void PauseRun(const v1::PauseRunRequest& request, Reply<v1::PauseRunResponse> reply);
  void ResumeRun(const v1::ResumeRunRequest& request, Reply<v1::ResumeRunResponse> reply);
  void GetRun(const v1::GetRunRequest& request, Reply<v1::GetRunResponse> reply);
  void ListRuns(Reply<v1::ListRunsResponse> reply);
  void GetSteps(const v1::GetStepsRequest& request, Reply<v1::GetStepsResponse> reply);
  /// The whole picture, and the position in events() that it is as of.
  struct Snapshot {
    v1::GetStatusResponse status;
    uint64_t position = 0;
  };
  void GetStatus(Reply<Snapshot> reply);

  EventRing& events() { return events_; }

  /// Tells the workers to leave, and returns when that was sent. For a shutdown in good order; Stop
  /// is next.
  void TellWorkersToLeave(const std::string& reason);
  /// No more ticks; what is queued is written and sent; the thread ends. Later events are dropped,
  /// later requests get Unavailable.
  void Stop();

 private:
  /// Lets a tick that the timers already started find out that the runtime is gone.
  struct TickGuard {
    Mutex mutex;
    Runtime* runtime GUARDED_BY(mutex) = nullptr;
  };
  struct Item {
    Effects effects;
    std::function<void(const absl::Status&)> reply;  // OK: durable
  };

  Runtime(const RuntimeOptions& options, RuntimeDependencies dependencies, std::string epoch);
  absl::Status Restore();
  Moment Now() const;
  void Tick();
  /// Decides under the lock and queues what comes of it.
  void Decide(const std::function<Effects(Engine&)>& decide);
  /// As Decide for a request: `ask` fills effects and returns the answer.
  template <typename T>
  void Request(const std::function<absl::StatusOr<T>(Engine&, Effects&)>& ask, Reply<T> reply);
  bool PushLocked(Item item) REQUIRES(mutex_);
  void WriteLoop();
  void Deliver(std::vector<Item>& items, const absl::Status& durable);

  const RuntimeOptions options_;
  const RuntimeDependencies dependencies_;
  const absl::Time started_at_;
  EventRing events_;
  const std::shared_ptr<TickGuard> tick_guard_ = std::make_shared<TickGuard>();

  Mutex mutex_;
  CondVar changed_;
  Engine engine_ GUARDED_BY(mutex_);
  std::vector<Item> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool broken_ GUARDED_BY(mutex_) = false;
  Timers::TimerId timer_ GUARDED_BY(mutex_) = 0;

  Mutex links_mutex_;
  std::map<LinkId, std::shared_ptr<WorkerLink>> links_ GUARDED_BY(links_mutex_);
  LinkId next_link_ GUARDED_BY(links_mutex_) = 1;

  std::thread writer_;  // last: it uses the members above
};

}  // namespace neolog::coordinator
