#include "coordinator/grpc/control_grpc.h"

#include "common/rpc/status.h"

namespace neolog::coordinator {
namespace {

/// Puts the runtime's answer into the response and ends the call.
template <typename T>
Runtime::Reply<T> AnswerTo(grpc::ServerUnaryReactor* reactor, T* response) {
  return [reactor, response](absl::StatusOr<T> answer) {
    if (answer.ok()) *response = *std::move(answer);
    reactor->Finish(ToGrpc(answer.status()));
  };
}

}  // namespace

grpc::ServerUnaryReactor* ControlServiceImpl::SubmitRun(grpc::CallbackServerContext* context,
                                                        const v1::SubmitRunRequest* request,
                                                        v1::SubmitRunResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.Submit(*request, AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::StopRun(grpc::CallbackServerContext* context,
                                                      const v1::StopRunRequest* request,
                                                      v1::StopRunResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.StopRun(*request, AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::PauseRun(grpc::CallbackServerContext* context,
                                                       const v1::PauseRunRequest* request,
                                                       v1::PauseRunResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.PauseRun(*request, AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::ResumeRun(grpc::CallbackServerContext* context,
                                                        const v1::ResumeRunRequest* request,
                                                        v1::ResumeRunResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.ResumeRun(*request, AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::GetRun(grpc::CallbackServerContext* context,
                                                     const v1::GetRunRequest* request,
                                                     v1::GetRunResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.GetRun(*request, AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::ListRuns(grpc::CallbackServerContext* context,
                                                       const v1::ListRunsRequest*,
                                                       v1::ListRunsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.ListRuns(AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::GetSteps(grpc::CallbackServerContext* context,
                                                       const v1::GetStepsRequest* request,
                                                       v1::GetStepsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  runtime_.GetSteps(*request, AnswerTo(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlServiceImpl::Shutdown(grpc::CallbackServerContext* context,
                                                       const v1::ShutdownRequest* request,
                                                       v1::ShutdownResponse*) {
  on_shutdown_(request->reason());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace neolog::coordinator
