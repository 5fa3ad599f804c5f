#include "coordinator/grpc/status_grpc.h"

#include <memory>
#include <string>
#include <utility>

#include "common/base/mutex.h"
#include "common/rpc/status.h"

namespace neolog::coordinator {
namespace {

/// One watcher. It reads the ring only when its last event was taken, so a slow reader costs no
/// memory.
class Watcher : public grpc::ServerWriteReactor<v1::WatchEventsResponse>,
                public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(Runtime& runtime, std::string run_id) : runtime_(runtime), run_id_(std::move(run_id)) {}

  void Start(const std::string& token) {
    self_ = shared_from_this();
    subscription_ = runtime_.events().Subscribe([weak = weak_from_this()] {
      if (const auto watcher = weak.lock()) watcher->Advance();
    });
    const auto position = token.empty() ? std::nullopt : runtime_.events().PositionAfter(token);
    {
      MutexLock lock(mutex_);
      if (position) {
        position_ = *position;
      } else {
        needs_snapshot_ = true;
      }
      started_ = true;
    }
    Advance();
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      busy_ = false;
      if (!ok) Close(grpc::Status::CANCELLED);
    }
    Advance();
  }

  void OnCancel() override {
    {
      MutexLock lock(mutex_);
      Close(grpc::Status::CANCELLED);
    }
    Advance();
  }

  void OnDone() override {
    runtime_.events().Unsubscribe(subscription_);
    self_.reset();
  }

 private:
  void Close(const grpc::Status& end) REQUIRES(mutex_) {
    if (closing_) return;
    closing_ = true;
    end_ = end;
  }

  /// Starts whatever comes next: the end, a snapshot, an event, or nothing until the ring wakes it.
  void Advance() {
    enum class Step { kFinish, kSnapshot, kWrite } step = Step::kWrite;
    grpc::Status end;
    {
      MutexLock lock(mutex_);
      if (!started_ || busy_ || finished_) return;
      if (closing_) {
        finished_ = true;
        step = Step::kFinish;
        end = end_;
      } else {
        if (!needs_snapshot_) {
          EventRing::Next next = runtime_.events().ReadFrom(position_, run_id_);
          if (next.kind == EventRing::Next::Kind::kNone) {
            position_ = next.position;
            return;
          }
          needs_snapshot_ = next.kind == EventRing::Next::Kind::kFellBehind;
          if (!needs_snapshot_) position_ = next.position;
          writing_ = std::move(next.event);
        }
        busy_ = true;
        if (needs_snapshot_) step = Step::kSnapshot;
      }
    }
    switch (step) {
      case Step::kFinish: Finish(end); break;
      case Step::kSnapshot: AskSnapshot(); break;
      case Step::kWrite: StartWrite(writing_.get()); break;
    }
  }

  void AskSnapshot() {
    runtime_.GetStatus([self = shared_from_this()](absl::StatusOr<Runtime::Snapshot> snapshot) {
      self->OnSnapshot(std::move(snapshot));
    });
  }

  void OnSnapshot(absl::StatusOr<Runtime::Snapshot> snapshot) {
    if (!snapshot.ok()) {
      {
        MutexLock lock(mutex_);
        busy_ = false;
        Close(ToGrpc(snapshot.status()));
      }
      Advance();
      return;
    }
    auto event = std::make_shared<v1::WatchEventsResponse>();
    event->set_resume_token(runtime_.events().TokenAt(snapshot->position));
    event->set_message("the whole picture");
    *event->mutable_snapshot() = std::move(snapshot->status);
    if (!run_id_.empty()) {
      auto& runs = *event->mutable_snapshot()->mutable_runs();
      runs.erase(std::remove_if(runs.begin(), runs.end(),
                                [this](const auto& run) { return run.run_id() != run_id_; }),
                 runs.end());
    }
    {
      MutexLock lock(mutex_);
      needs_snapshot_ = false;
      position_ = snapshot->position;
      if (closing_) {
        busy_ = false;
      } else {
        writing_ = std::move(event);
      }
    }
    if (writing_ != nullptr && Busy()) {
      StartWrite(writing_.get());
    } else {
      Advance();
    }
  }

  bool Busy() {
    MutexLock lock(mutex_);
    return busy_;
  }

  Runtime& runtime_;
  const std::string run_id_;
  std::shared_ptr<Watcher> self_;
  uint64_t subscription_ = 0;
  std::shared_ptr<const v1::WatchEventsResponse> writing_;  // touched only by who set busy_

  Mutex mutex_;
  uint64_t position_ GUARDED_BY(mutex_) = 0;
  grpc::Status end_ GUARDED_BY(mutex_);
  bool started_ GUARDED_BY(mutex_) = false;
  bool needs_snapshot_ GUARDED_BY(mutex_) = false;
  bool busy_ GUARDED_BY(mutex_) = false;  // a write or a snapshot is under way
  bool closing_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerUnaryReactor* StatusServiceImpl::GetStatus(grpc::CallbackServerContext* context,
                                                       const v1::GetStatusRequest*,
                                                       v1::GetStatusResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.GetStatus([reactor, response](absl::StatusOr<Runtime::Snapshot> snapshot) {
    if (snapshot.ok()) *response = std::move(snapshot->status);
    reactor->Finish(ToGrpc(snapshot.status()));
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::WatchEventsResponse>* StatusServiceImpl::WatchEvents(
    grpc::CallbackServerContext*, const v1::WatchEventsRequest* request) {
  auto watcher = std::make_shared<Watcher>(runtime_, request->run_id());
  watcher->Start(request->resume_token());
  return watcher.get();
}

}  // namespace neolog::coordinator
