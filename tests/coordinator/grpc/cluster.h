#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/rpc/channel.h"
#include "common/storage/memory_blob_store.h"
#include "coordinator/grpc/server_grpc.h"
#include "coordinator/journal/journal.h"
#include "coordinator/runtime/runtime.h"
#include "neolog/v1/agent.grpc.pb.h"
#include "tests/coordinator/core/fixtures.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator::testing {

/// Takes any folder.
class AnyDirectory : public LogDirectories {
 public:
  absl::StatusOr<std::string> CheckFree(const v1::RunSpec& spec) override {
    return "/out/" + spec.name();
  }
};

/// A coordinator in this process, on a real Unix socket, with real clocks.
class GrpcCluster {
 public:
  explicit GrpcCluster(Journal* journal, CoreOptions core = {}) : journal_(journal) {
    core.settle = absl::ZeroDuration();
    options_.core = core;
    EXPECT_OK(blobs_.Put("picture"));
    Start();
  }
  ~GrpcCluster() { Kill(); }

  void Start() {
    auto runtime = Runtime::Create(options_, {.journal = journal_,
                                              .blobs = &blobs_,
                                              .clock = &clock_,
                                              .timers = &timers_,
                                              .directories = &directories_,
                                              .random = [this] { return ++random_; }});
    ASSERT_OK(runtime);
    runtime_ = *std::move(runtime);
    ServerSetup setup;
    setup.targets = {*ParseTarget(target())};
    setup.on_shutdown = [](const std::string&) {};
    auto server = Server::Start(setup, *runtime_, blobs_);
    ASSERT_OK(server);
    server_ = *std::move(server);
  }
  void Kill() {
    server_.reset();
    runtime_.reset();
  }

  std::string target() const { return "unix:" + dir_.File("c.sock"); }
  std::shared_ptr<grpc::Channel> Channel() {
    return *MakeChannel(target(),
                        {.own_connection = true, .max_reconnect_backoff = absl::Milliseconds(100)});
  }
  Runtime& runtime() { return *runtime_; }
  MemoryBlobStore& blobs() { return blobs_; }

 private:
  neolog::testing::ScopedDir dir_;
  Journal* const journal_;
  RuntimeOptions options_;
  MemoryBlobStore blobs_;
  SystemClock clock_;
  SystemTimers timers_;
  AnyDirectory directories_;
  std::atomic<uint64_t> random_ = 0;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Server> server_;
};

/// A worker's side of the stream, one thread.
class FakeWorker {
 public:
  FakeWorker(std::shared_ptr<grpc::Channel> channel, std::string id, uint64_t incarnation = 1)
      : stub_(v1::AgentService::NewStub(channel)), identity_(MakeIdentity(id, incarnation)) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    context_.set_wait_for_ready(true);
    stream_ = stub_->Connect(&context_);
  }
  ~FakeWorker() { Die(); }

  bool Say(v1::WorkerMessage message) {
    *message.mutable_worker() = identity_;
    return stream_->Write(message);
  }
  bool Register(v1::Register info = MakeRegister()) {
    v1::WorkerMessage message;
    *message.mutable_register_() = std::move(info);
    return Say(message);
  }
  /// Reads up to the first message of a kind; false when the stream ended before.
  bool WaitFor(v1::CoordinatorMessage::BodyCase kind, v1::CoordinatorMessage* message) {
    while (stream_->Read(message)) {
      if (message->body_case() == kind) return true;
    }
    return false;
  }
  bool Commit(const v1::Assignment& assignment, uint64_t first, uint64_t last) {
    v1::WorkerMessage message;
    *message.mutable_commit() = MakeCommit(assignment.team_id(), assignment.roster().version(),
                                           assignment.runs(0).run_id(), first, last);
    return Say(message);
  }
  grpc::Status Finish() {
    dead_ = true;
    return stream_->Finish();
  }
  void Die() {
    if (dead_) return;
    dead_ = true;
    context_.TryCancel();
    v1::CoordinatorMessage message;
    while (stream_->Read(&message)) {
    }
    stream_->Finish();
  }

 private:
  std::unique_ptr<v1::AgentService::Stub> stub_;
  const v1::WorkerIdentity identity_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
  bool dead_ = false;
};

}  // namespace neolog::coordinator::testing
