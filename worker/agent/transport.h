#pragma once

#include <functional>
#include <memory>

#include "common/base/status.h"
#include "neolog/v1/agent.pb.h"

namespace neolog::agent {

/// A stream to the coordinator. Any thread; nothing blocks.
class AgentStream {
 public:
  virtual ~AgentStream() = default;
  /// Queues a message. False when the stream has ended or the coordinator has not read for so long
  /// that the queue is full; the message is dropped then.
  virtual bool Write(v1::WorkerMessage message) = 0;
  /// Half-closes behind what is queued.
  virtual void Finish() = 0;
  /// Ends the stream now.
  virtual void Cancel() = 0;
};

/// Opens streams.
class AgentConnector {
 public:
  virtual ~AgentConnector() = default;
  /// `on_message` is called for every message in order, then `on_closed` exactly once, with OK when
  /// the coordinator ended the stream in good order. Both from threads of the transport, never from
  /// inside Open or a stream's methods.
  virtual std::shared_ptr<AgentStream> Open(
      std::function<void(const v1::CoordinatorMessage&)> on_message,
      std::function<void(const absl::Status&)> on_closed) = 0;
};

}  // namespace neolog::agent
