#pragma once

#include <grpcpp/grpcpp.h>

#include "coordinator/runtime/runtime.h"
#include "neolog/v1/status.grpc.pb.h"

namespace neolog::coordinator {

/// The picture of now, and streams of events read from the runtime's ring at each reader's own
/// pace.
class StatusServiceImpl : public v1::StatusService::CallbackService {
 public:
  explicit StatusServiceImpl(Runtime& runtime) : runtime_(runtime) {}
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchEventsResponse>* WatchEvents(
      grpc::CallbackServerContext* context, const v1::WatchEventsRequest* request) override;

 private:
  Runtime& runtime_;
};

}  // namespace neolog::coordinator
