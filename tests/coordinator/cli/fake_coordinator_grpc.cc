#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <gtest/gtest.h>

#include "common/base/hash.h"
#include "common/base/mutex.h"
#include "neolog/v1/blobs.grpc.pb.h"
#include "neolog/v1/control.grpc.pb.h"
#include "neolog/v1/status.grpc.pb.h"
#include "tests/coordinator/cli/fake_coordinator.h"

namespace neolog::cli::testing {

struct FakeCoordinator::State : v1::ControlService::Service,
                                v1::StatusService::Service,
                                v1::BlobService::Service {
  Mutex mutex;
  CondVar changed;
  std::string version GUARDED_BY(mutex) = "0.1.0";
  std::map<std::string, v1::RunInfo> runs GUARDED_BY(mutex);
  std::vector<v1::RunInfo> script GUARDED_BY(mutex);
  std::vector<v1::RunInfo> events GUARDED_BY(mutex);
  std::vector<v1::SubmitRunRequest> submitted GUARDED_BY(mutex);
  std::map<std::string, std::string> blobs GUARDED_BY(mutex);
  std::function<void(const std::string&)> on_stop GUARDED_BY(mutex);
  int watchers GUARDED_BY(mutex) = 0;
  int broken GUARDED_BY(mutex) = 0;
  bool stopping GUARDED_BY(mutex) = false;
  std::unique_ptr<grpc::Server> server;

  grpc::Status With(const std::string& run_id, v1::RunInfo* into) {
    MutexLock lock(mutex);
    for (const auto& [id, run] : runs) {
      if (id == run_id || run.spec().name() == run_id) {
        *into = run;
        return grpc::Status::OK;
      }
    }
    return {grpc::StatusCode::NOT_FOUND, "there is no run '" + run_id + "'"};
  }

  grpc::Status SubmitRun(grpc::ServerContext*, const v1::SubmitRunRequest* request,
                         v1::SubmitRunResponse* response) override {
    MutexLock lock(mutex);
    submitted.push_back(*request);
    v1::RunInfo run;
    run.set_run_id(request->spec().name() + "-1");
    *run.mutable_spec() = request->spec();
    run.set_state(v1::RUN_STATE_QUEUED);
    run.set_total_steps(request->spec().training().steps());
    runs[run.run_id()] = run;
    for (v1::RunInfo step : script) {
      step.set_run_id(run.run_id());
      *step.mutable_spec() = request->spec();
      events.push_back(step);
    }
    *response->mutable_run() = run;
    return grpc::Status::OK;
  }
  grpc::Status StopRun(grpc::ServerContext*, const v1::StopRunRequest* request,
                       v1::StopRunResponse* response) override {
    std::function<void(const std::string&)> callback;
    {
      MutexLock lock(mutex);
      callback = on_stop;
    }
    if (callback) callback(request->run_id());
    return With(request->run_id(), response->mutable_run());
  }
  grpc::Status PauseRun(grpc::ServerContext*, const v1::PauseRunRequest* request,
                        v1::PauseRunResponse* response) override {
    return With(request->run_id(), response->mutable_run());
  }
  grpc::Status ResumeRun(grpc::ServerContext*, const v1::ResumeRunRequest* request,
                         v1::ResumeRunResponse* response) override {
    return With(request->run_id(), response->mutable_run());
  }
  grpc::Status GetRun(grpc::ServerContext*, const v1::GetRunRequest* request,
                      v1::GetRunResponse* response) override {
    return With(request->run_id(), response->mutable_run());
  }
  grpc::Status ListRuns(grpc::ServerContext*, const v1::ListRunsRequest*,
                        v1::ListRunsResponse* response) override {
    MutexLock lock(mutex);
    for (const auto& [id, run] : runs) *response->add_runs() = run;
    return grpc::Status::OK;
  }
  grpc::Status GetSteps(grpc::ServerContext*, const v1::GetStepsRequest* request,
                        v1::GetStepsResponse* response) override {
    v1::StepRecord& step = *response->add_steps();
    step.set_step(request->first_step());
    step.set_loss(0.5);
    return grpc::Status::OK;
  }
  grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*,
                         v1::GetStatusResponse* response) override {
    MutexLock lock(mutex);
    response->set_version(version);
    for (const auto& [id, run] : runs) *response->add_runs() = run;
    return grpc::Status::OK;
  }
  grpc::Status WatchEvents(grpc::ServerContext* context, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::WatchEventsResponse>* writer) override {
    size_t next = request->resume_token().empty() ? 0 : std::stoul(request->resume_token());
    MutexLock lock(mutex);
    ++watchers;
    changed.NotifyAll();
    const int broken_before = broken;
    while (!stopping && !context->IsCancelled() && broken == broken_before) {
      if (next == events.size()) {
        changed.WaitUntil(mutex, std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
        continue;
      }
      v1::WatchEventsResponse event;
      *event.mutable_run() = events[next];
      runs[events[next].run_id()] = events[next];
      event.set_resume_token(std::to_string(++next));
      writer->Write(event);
    }
    --watchers;
    return {grpc::StatusCode::UNAVAILABLE, "going away"};
  }
  grpc::Status PutBlob(grpc::ServerContext*, grpc::ServerReader<v1::PutBlobRequest>* reader,
                       v1::PutBlobResponse* response) override {
    std::string bytes;
    v1::PutBlobRequest part;
    while (reader->Read(&part)) bytes += part.chunk();
    response->set_size_bytes(bytes.size());
    MutexLock lock(mutex);
    blobs[Sha256Hex(bytes)] = bytes;
    return grpc::Status::OK;
  }
  grpc::Status HasBlobs(grpc::ServerContext*, const v1::HasBlobsRequest* request,
                        v1::HasBlobsResponse* response) override {
    MutexLock lock(mutex);
    for (const std::string& digest : request->digests())
      response->add_present(blobs.count(digest) > 0);
    return grpc::Status::OK;
  }
};

FakeCoordinator::FakeCoordinator(const std::string& socket_path)
    : target_("unix:" + socket_path), state_(std::make_unique<State>()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(target_, grpc::InsecureServerCredentials());
  builder.RegisterService(static_cast<v1::ControlService::Service*>(state_.get()));
  builder.RegisterService(static_cast<v1::StatusService::Service*>(state_.get()));
  builder.RegisterService(static_cast<v1::BlobService::Service*>(state_.get()));
  state_->server = builder.BuildAndStart();
  EXPECT_NE(state_->server, nullptr);
}

FakeCoordinator::~FakeCoordinator() {
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.NotifyAll();
  state_->server->Shutdown();
}

void FakeCoordinator::SetVersion(const std::string& version) {
  MutexLock lock(state_->mutex);
  state_->version = version;
}

void FakeCoordinator::SetRun(const v1::RunInfo& run) {
  MutexLock lock(state_->mutex);
  state_->runs[run.run_id()] = run;
  state_->events.push_back(run);
  state_->changed.NotifyAll();
}

v1::RunInfo FakeCoordinator::GetRun(const std::string& run_id) {
  MutexLock lock(state_->mutex);
  return state_->runs[run_id];
}

void FakeCoordinator::SetScript(std::vector<v1::RunInfo> script) {
  MutexLock lock(state_->mutex);
  state_->script = std::move(script);
}

void FakeCoordinator::OnStop(std::function<void(const std::string&)> on_stop) {
  MutexLock lock(state_->mutex);
  state_->on_stop = std::move(on_stop);
}

void FakeCoordinator::BreakStreams() {
  MutexLock lock(state_->mutex);
  ++state_->broken;
  state_->changed.NotifyAll();
}

std::vector<v1::SubmitRunRequest> FakeCoordinator::submitted() {
  MutexLock lock(state_->mutex);
  return state_->submitted;
}

std::map<std::string, std::string> FakeCoordinator::blobs() {
  MutexLock lock(state_->mutex);
  return state_->blobs;
}

int FakeCoordinator::watchers() {
  MutexLock lock(state_->mutex);
  return state_->watchers;
}

}  // namespace neolog::cli::testing
