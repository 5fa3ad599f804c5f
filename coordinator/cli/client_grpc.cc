#include <fmt/format.h>
#include <grpcpp/client_context.h>

#include <chrono>

#include "common/base/version.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"
#include "common/rpc/version_check.h"
#include "coordinator/cli/client.h"
#include "neolog/v1/control.grpc.pb.h"
#include "neolog/v1/status.grpc.pb.h"

namespace neolog::cli {
namespace {

class GrpcEventStream : public EventStream {
 public:
  GrpcEventStream(v1::StatusService::Stub* stub, const v1::WatchEventsRequest& request,
                  std::string target)
      : target_(std::move(target)), reader_(stub->WatchEvents(&context_, request)) {}

  ~GrpcEventStream() override {
    context_.TryCancel();
    v1::WatchEventsResponse ignored;
    while (!finished_ && reader_->Read(&ignored)) {
    }
    if (!finished_) reader_->Finish();
  }

  absl::StatusOr<v1::WatchEventsResponse> Next() override {
    v1::WatchEventsResponse event;
    if (!finished_ && reader_->Read(&event)) return event;
    if (!finished_) {
      finished_ = true;
      end_ = FromGrpc(reader_->Finish());
    }
    if (end_.ok()) return Unavailable("the coordinator ended the stream of events");
    return Annotate(end_, fmt::format("watching the coordinator at '{}'", target_));
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  const std::string target_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader_;
  bool finished_ = false;
  absl::Status end_;
};

class GrpcClient : public Client {
 public:
  GrpcClient(std::string target, std::shared_ptr<grpc::Channel> channel, absl::Duration timeout)
      : target_(std::move(target)),
        timeout_(timeout),
        control_(v1::ControlService::NewStub(channel)),
        status_(v1::StatusService::NewStub(channel)),
        blobs_(channel),
        channel_(std::move(channel)) {}

  absl::StatusOr<v1::RunInfo> SubmitRun(const v1::SubmitRunRequest& request) override {
    return RunOf(
        Call<v1::SubmitRunResponse>(*control_, &v1::ControlService::Stub::SubmitRun, request));
  }
  absl::StatusOr<v1::RunInfo> StopRun(const std::string& run) override {
    v1::StopRunRequest request;
    request.set_run_id(run);
    return RunOf(Call<v1::StopRunResponse>(*control_, &v1::ControlService::Stub::StopRun, request));
  }
  absl::StatusOr<v1::RunInfo> PauseRun(const std::string& run) override {
    v1::PauseRunRequest request;
    request.set_run_id(run);
    return RunOf(
        Call<v1::PauseRunResponse>(*control_, &v1::ControlService::Stub::PauseRun, request));
  }
  absl::StatusOr<v1::RunInfo> ResumeRun(const v1::ResumeRunRequest& request) override {
    return RunOf(
        Call<v1::ResumeRunResponse>(*control_, &v1::ControlService::Stub::ResumeRun, request));
  }
  absl::StatusOr<v1::RunInfo> GetRun(const std::string& run) override {
    v1::GetRunRequest request;
    request.set_run_id(run);
    return RunOf(Call<v1::GetRunResponse>(*control_, &v1::ControlService::Stub::GetRun, request));
  }
  absl::StatusOr<v1::ListRunsResponse> ListRuns() override {
    return Call<v1::ListRunsResponse>(*control_, &v1::ControlService::Stub::ListRuns,
                                      v1::ListRunsRequest());
  }
  absl::StatusOr<v1::GetStepsResponse> GetSteps(const v1::GetStepsRequest& request) override {
    return Call<v1::GetStepsResponse>(*control_, &v1::ControlService::Stub::GetSteps, request);
  }
  absl::StatusOr<v1::GetStatusResponse> GetStatus() override {
    return Call<v1::GetStatusResponse>(*status_, &v1::StatusService::Stub::GetStatus,
                                       v1::GetStatusRequest());
  }
  std::unique_ptr<EventStream> WatchEvents(const v1::WatchEventsRequest& request) override {
    return std::make_unique<GrpcEventStream>(status_.get(), request, target_);
  }
  BlobStore& blobs() override { return blobs_; }
  bool WaitForConnection(absl::Duration timeout) override {
    return channel_->WaitForConnected(std::chrono::system_clock::now() +
                                      absl::ToChronoMilliseconds(timeout));
  }

 private:
  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout_));
    Response response;
    absl::Status status = FromGrpc((stub.*method)(&context, request, &response));
    if (status.ok()) return response;
    if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
      return Unavailable(fmt::format("the coordinator at '{}' cannot be reached: {}", target_,
                                     ToStd(status.message())));
    }
    return status;
  }

  template <typename Response>
  static absl::StatusOr<v1::RunInfo> RunOf(absl::StatusOr<Response> response) {
    if (!response.ok()) return response.status();
    return std::move(*response->mutable_run());
  }

  const std::string target_;
  const absl::Duration timeout_;
  const std::unique_ptr<v1::ControlService::Stub> control_;
  const std::unique_ptr<v1::StatusService::Stub> status_;
  GrpcBlobStore blobs_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> MakeGrpcClient(const std::string& target,
                                                       absl::Duration timeout) {
  ASSIGN_OR_RETURN(auto channel, MakeChannel(target));
  return std::unique_ptr<Client>(new GrpcClient(target, std::move(channel), timeout));
}

absl::Status WaitForCoordinator(Client& client, absl::Duration timeout) {
  // Without a connection in time the call says what is wrong.
  if (timeout > absl::ZeroDuration()) client.WaitForConnection(timeout);
  ASSIGN_OR_RETURN(const v1::GetStatusResponse status, client.GetStatus());
  return CheckVersion(kVersion, status.version(), "the coordinator");
}

}  // namespace neolog::cli
