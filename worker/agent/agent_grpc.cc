#include "worker/agent/agent_grpc.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/rpc/status.h"
#include "neolog/v1/agent.grpc.pb.h"

namespace neolog::agent {
namespace {

/// Messages a coordinator that does not read may owe us; heartbeats of several minutes.
constexpr size_t kMaxQueued = 1024;

}  // namespace

struct GrpcAgentConnector::Shared {
  Mutex mutex;
  CondVar changed;
  std::set<std::shared_ptr<Stream>> open GUARDED_BY(mutex);
  // gRPC joins its own threads when a process's last channel goes, so streams are not destroyed on
  // one of them.
  std::vector<std::shared_ptr<Stream>> done GUARDED_BY(mutex);
};

class GrpcAgentConnector::Stream
    : public AgentStream,
      public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  Stream(std::shared_ptr<Shared> shared, const std::shared_ptr<grpc::Channel>& channel,
         std::function<void(const v1::CoordinatorMessage&)> on_message,
         std::function<void(const absl::Status&)> on_closed)
      : shared_(std::move(shared)),
        stub_(v1::AgentService::NewStub(channel)),
        on_message_(std::move(on_message)),
        on_closed_(std::move(on_closed)) {}

  void Begin(std::shared_ptr<Stream> self) {
    self_ = std::move(self);
    stub_->async()->Connect(&context_, this);
    AddHold();  // writes come from other threads
    StartRead(&incoming_);
    StartCall();
  }

  bool Write(v1::WorkerMessage message) override {
    MutexLock lock(mutex_);
    if (closed_ || finishing_ || queue_.size() >= kMaxQueued) return false;
    queue_.push_back(std::move(message));
    WriteNextLocked();
    return true;
  }

  void Finish() override {
    MutexLock lock(mutex_);
    finishing_ = true;
    WriteNextLocked();
  }

  void Cancel() override { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (ok) {
      on_message_(incoming_);
      StartRead(&incoming_);
      return;
    }
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    RemoveHold();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(mutex_);
    writing_ = false;
    queue_.pop_front();
    if (ok) WriteNextLocked();
  }

  void OnDone(const grpc::Status& status) override {
    on_closed_(FromGrpc(status));
    const std::shared_ptr<Shared> shared = shared_;
    MutexLock lock(shared->mutex);
    shared->open.erase(self_);
    shared->done.push_back(std::move(self_));
    shared->changed.NotifyAll();
  }

 private:
  void WriteNextLocked() REQUIRES(mutex_) {
    if (closed_ || writing_) return;
    if (!queue_.empty()) {
      writing_ = true;
      StartWrite(&queue_.front());
    } else if (finishing_ && !writes_done_) {
      writes_done_ = true;
      StartWritesDone();
    }
  }

  const std::shared_ptr<Shared> shared_;
  const std::unique_ptr<v1::AgentService::Stub> stub_;
  const std::function<void(const v1::CoordinatorMessage&)> on_message_;
  const std::function<void(const absl::Status&)> on_closed_;
  grpc::ClientContext context_;
  v1::CoordinatorMessage incoming_;
  std::shared_ptr<Stream> self_;
  Mutex mutex_;
  std::deque<v1::WorkerMessage> queue_
      GUARDED_BY(mutex_);  // a deque: the one being written must not move
  bool writing_ GUARDED_BY(mutex_) = false;
  bool finishing_ GUARDED_BY(mutex_) = false;
  bool writes_done_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
};

GrpcAgentConnector::GrpcAgentConnector(std::shared_ptr<grpc::Channel> channel)
    : channel_(std::move(channel)), shared_(std::make_shared<Shared>()) {}

GrpcAgentConnector::~GrpcAgentConnector() {
  std::vector<std::shared_ptr<Stream>> streams;
  {
    MutexLock lock(shared_->mutex);
    streams.assign(shared_->open.begin(), shared_->open.end());
  }
  for (const auto& stream : streams) stream->Cancel();
  streams.clear();
  MutexLock lock(shared_->mutex);
  while (!shared_->open.empty()) shared_->changed.Wait(shared_->mutex);
  streams.swap(shared_->done);  // destroyed when the lock is released
}

std::shared_ptr<AgentStream> GrpcAgentConnector::Open(
    std::function<void(const v1::CoordinatorMessage&)> on_message,
    std::function<void(const absl::Status&)> on_closed) {
  std::vector<std::shared_ptr<Stream>> done;
  auto stream =
      std::make_shared<Stream>(shared_, channel_, std::move(on_message), std::move(on_closed));
  {
    MutexLock lock(shared_->mutex);
    done.swap(shared_->done);
    shared_->open.insert(stream);
  }
  stream->Begin(stream);
  return stream;
}

}  // namespace neolog::agent
