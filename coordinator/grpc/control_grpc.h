#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>

#include "coordinator/runtime/runtime.h"
#include "neolog/v1/control.grpc.pb.h"

namespace neolog::coordinator {

/// Requests of people and programs, handed to the runtime.
class ControlServiceImpl : public v1::ControlService::CallbackService {
 public:
  /// `on_shutdown` is called with the reason of a Shutdown request; it must not block.
  ControlServiceImpl(Runtime& runtime, std::function<void(const std::string&)> on_shutdown)
      : runtime_(runtime), on_shutdown_(std::move(on_shutdown)) {}

  grpc::ServerUnaryReactor* SubmitRun(grpc::CallbackServerContext* context,
                                      const v1::SubmitRunRequest* request,
                                      v1::SubmitRunResponse* response) override;
  grpc::ServerUnaryReactor* StopRun(grpc::CallbackServerContext* context,
                                    const v1::StopRunRequest* request,
                                    v1::StopRunResponse* response) override;
  grpc::ServerUnaryReactor* PauseRun(grpc::CallbackServerContext* context,
                                     const v1::PauseRunRequest* request,
                                     v1::PauseRunResponse* response) override;
  grpc::ServerUnaryReactor* ResumeRun(grpc::CallbackServerContext* context,
                                      const v1::ResumeRunRequest* request,
                                      v1::ResumeRunResponse* response) override;
  grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context,
                                   const v1::GetRunRequest* request,
                                   v1::GetRunResponse* response) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context,
                                     const v1::ListRunsRequest* request,
                                     v1::ListRunsResponse* response) override;
  grpc::ServerUnaryReactor* GetSteps(grpc::CallbackServerContext* context,
                                     const v1::GetStepsRequest* request,
                                     v1::GetStepsResponse* response) override;
  grpc::ServerUnaryReactor* Shutdown(grpc::CallbackServerContext* context,
                                     const v1::ShutdownRequest* request,
                                     v1::ShutdownResponse* response) override;

 private:
  Runtime& runtime_;
  const std::function<void(const std::string&)> on_shutdown_;
};

}  // namespace neolog::coordinator
