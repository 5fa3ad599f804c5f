#include "coordinator/grpc/agent_grpc.h"

#include <deque>
#include <memory>

#include "common/base/mutex.h"

namespace neolog::coordinator {
namespace {

/// One worker's stream. It keeps itself alive until gRPC is done with it; the runtime holds it
/// while it is open.
class AgentStream : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                    public WorkerLink,
                    public std::enable_shared_from_this<AgentStream> {
 public:
  explicit AgentStream(Runtime& runtime) : runtime_(runtime) {}

  void Start() {
    self_ = shared_from_this();
    link_ = runtime_.OpenLink(self_);
    StartRead(&incoming_);
  }

  void Send(v1::CoordinatorMessage message) override {
    {
      MutexLock lock(mutex_);
      if (closing_) return;
      if (message.has_refused() && message.refused().code() == v1::Refused::CODE_VERSION) {
        end_ = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, message.refused().message());
      }
      queue_.push_back(std::move(message));
    }
    Advance();
  }

  void Close() override {
    {
      MutexLock lock(mutex_);
      closing_ = true;
    }
    Advance();
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      runtime_.OnMessage(link_, incoming_);
      StartRead(&incoming_);
      return;
    }
    // The worker ended the stream, or the connection broke: evidence, so it is told at once.
    runtime_.OnLinkClosed(link_);
    {
      MutexLock lock(mutex_);
      closing_ = true;
    }
    Advance();
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      writing_ = false;
      if (!ok) {
        queue_.clear();
        closing_ = true;
      }
    }
    Advance();
  }

  void OnCancel() override {
    {
      MutexLock lock(mutex_);
      closing_ = true;
      queue_.clear();
    }
    Advance();
  }

  void OnDone() override {
    runtime_.OnLinkClosed(link_);
    self_.reset();
  }

 private:
  /// Writes the next message, or ends the stream when it is closing and everything was written.
  void Advance() {
    bool finish = false;
    {
      MutexLock lock(mutex_);
      if (writing_ || finished_) return;
      if (!queue_.empty()) {
        writing_ = true;
        outgoing_ = std::move(queue_.front());
        queue_.pop_front();
      } else if (closing_) {
        finished_ = finish = true;
      } else {
        return;
      }
    }
    if (finish) {
      Finish(end_);
    } else {
      StartWrite(&outgoing_);
    }
  }

  Runtime& runtime_;
  std::shared_ptr<AgentStream> self_;
  LinkId link_ = 0;
  v1::WorkerMessage incoming_;       // the read in progress
  v1::CoordinatorMessage outgoing_;  // the write in progress

  Mutex mutex_;
  std::deque<v1::CoordinatorMessage> queue_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool closing_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;
  grpc::Status end_;  // set before closing_, read when it is finished
};

}  // namespace

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* AgentServiceImpl::Connect(
    grpc::CallbackServerContext*) {
  auto stream = std::make_shared<AgentStream>(runtime_);
  stream->Start();
  return stream.get();
}

}  // namespace neolog::coordinator
