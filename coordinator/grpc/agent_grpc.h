#pragma once

#include <grpcpp/grpcpp.h>

#include "coordinator/runtime/runtime.h"
#include "neolog/v1/agent.grpc.pb.h"

namespace neolog::coordinator {

/// Workers' streams: each is a link of the runtime, with a queue of messages to write.
class AgentServiceImpl : public v1::AgentService::CallbackService {
 public:
  /// `runtime` must outlive every stream.
  explicit AgentServiceImpl(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Connect(
      grpc::CallbackServerContext* context) override;

 private:
  Runtime& runtime_;
};

}  // namespace neolog::coordinator
