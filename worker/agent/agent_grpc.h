#pragma once

#include <grpcpp/channel.h>

#include <memory>

#include "worker/agent/transport.h"

namespace neolog::agent {

/// Streams of AgentService over one channel. Its destructor cancels the open ones and waits until
/// they are gone; their callbacks come before that.
class GrpcAgentConnector : public AgentConnector {
 public:
  explicit GrpcAgentConnector(std::shared_ptr<grpc::Channel> channel);
  ~GrpcAgentConnector() override;
  std::shared_ptr<AgentStream> Open(std::function<void(const v1::CoordinatorMessage&)> on_message,
                                    std::function<void(const absl::Status&)> on_closed) override;

 private:
  class Stream;
  struct Shared;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace neolog::agent
