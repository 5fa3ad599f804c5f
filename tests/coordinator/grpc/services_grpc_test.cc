#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "common/base/hash.h"
#include "common/rpc/blob_client.h"
#include "coordinator/grpc/listen.h"
#include "coordinator/journal/memory_journal.h"
#include "neolog/v1/control.grpc.pb.h"
#include "neolog/v1/status.grpc.pb.h"
#include "tests/coordinator/grpc/cluster.h"

namespace neolog::coordinator {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::_;
using testing::FakeWorker;
using testing::GrpcCluster;
using ::testing::HasSubstr;
using testing::MakeRegister;
using testing::MakeSpec;

class ServicesTest : public ::testing::Test {
 protected:
  grpc::Status Submit(const v1::RunSpec& spec, v1::SubmitRunResponse* response) {
    grpc::ClientContext context;
    v1::SubmitRunRequest request;
    *request.mutable_spec() = spec;
    return v1::ControlService::NewStub(cluster_.Channel())->SubmitRun(&context, request, response);
  }
  MemoryJournal journal_;
  GrpcCluster cluster_{&journal_};
};

TEST_F(ServicesTest, TwoWorkers_TrainARunAndSurviveEachOther) {
  FakeWorker w0(cluster_.Channel(), "w0");
  FakeWorker w1(cluster_.Channel(), "w1");
  v1::CoordinatorMessage message;
  for (FakeWorker* worker : {&w0, &w1}) {
    ASSERT_TRUE(worker->Register());
    ASSERT_TRUE(worker->WaitFor(v1::CoordinatorMessage::kRegistered, &message));
    EXPECT_EQ(message.registered().lease_ms(), 1000u);
  }
  v1::SubmitRunResponse submitted;
  ASSERT_TRUE(Submit(MakeSpec("zesko", 100, 2), &submitted).ok());
  ASSERT_TRUE(w0.WaitFor(v1::CoordinatorMessage::kAssignment, &message));
  const v1::Assignment assignment = message.assignment();
  ASSERT_EQ(assignment.roster().members_size(), 2);
  ASSERT_TRUE(w0.Commit(assignment, 1, 5));
  ASSERT_TRUE(w1.WaitFor(v1::CoordinatorMessage::kCommitted, &message));
  EXPECT_EQ(message.committed().step(), 5u);

  w1.Die();  // the stream closes; the survivor has a roster without it long before a lease would
             // end
  ASSERT_TRUE(w0.WaitFor(v1::CoordinatorMessage::kAssignment, &message));
  EXPECT_EQ(message.assignment().roster().version(), 2u);
  EXPECT_EQ(message.assignment().roster().members_size(), 1);
  EXPECT_EQ(message.assignment().runs(0).committed_step(), 5u);
}

TEST_F(ServicesTest, CoordinatorRestart_TheWorkerGoesOnWithItsAssignment) {
  v1::CoordinatorMessage message;
  v1::Assignment assignment;
  {
    FakeWorker w0(cluster_.Channel(), "w0");
    ASSERT_TRUE(w0.Register());
    v1::SubmitRunResponse submitted;
    ASSERT_TRUE(Submit(MakeSpec(), &submitted).ok());
    ASSERT_TRUE(w0.WaitFor(v1::CoordinatorMessage::kAssignment, &message));
    assignment = message.assignment();
    ASSERT_TRUE(w0.Commit(assignment, 1, 5));
    ASSERT_TRUE(w0.WaitFor(v1::CoordinatorMessage::kCommitted, &message));
    cluster_.Kill();
  }
  cluster_.Start();
  FakeWorker again(cluster_.Channel(), "w0");
  v1::Register info = MakeRegister();
  info.mutable_held()->set_team_id(assignment.team_id());
  info.mutable_held()->set_roster_version(assignment.roster().version());
  ASSERT_TRUE(again.Register(info));
  ASSERT_TRUE(again.WaitFor(v1::CoordinatorMessage::kCommitted, &message));
  EXPECT_EQ(message.committed().step(), 5u);
  ASSERT_TRUE(again.Commit(assignment, 4, 9));
  ASSERT_TRUE(again.WaitFor(v1::CoordinatorMessage::kCommitted, &message));
  EXPECT_EQ(message.committed().step(), 9u);
}

TEST_F(ServicesTest, WorkerOfAnotherVersion_IsRefusedAndItsStreamEnds) {
  FakeWorker worker(cluster_.Channel(), "w0");
  v1::Register info = MakeRegister();
  info.set_version("9.9.9");
  ASSERT_TRUE(worker.Register(info));
  v1::CoordinatorMessage message;
  ASSERT_TRUE(worker.WaitFor(v1::CoordinatorMessage::kRefused, &message));
  EXPECT_EQ(message.refused().code(), v1::Refused::CODE_VERSION);
  EXPECT_FALSE(worker.WaitFor(v1::CoordinatorMessage::kAssignment, &message));
  const grpc::Status end = worker.Finish();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(end.error_message(), HasSubstr("9.9.9"));
}

TEST_F(ServicesTest, BadRequests_HaveTheirCodes) {
  v1::SubmitRunResponse submitted;
  v1::RunSpec spec = MakeSpec();
  spec.mutable_training()->set_steps(0);
  EXPECT_EQ(Submit(spec, &submitted).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  spec = MakeSpec();
  spec.mutable_data()->mutable_samples(0)->set_image_digest(std::string(64, '0'));
  EXPECT_EQ(Submit(spec, &submitted).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  grpc::ClientContext context;
  v1::GetRunRequest request;
  request.set_run_id("nobody");
  v1::GetRunResponse response;
  EXPECT_EQ(v1::ControlService::NewStub(cluster_.Channel())
                ->GetRun(&context, request, &response)
                .error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, Watch_BeginsWithASnapshotAndResumesBehindAToken) {
  const auto stub = v1::StatusService::NewStub(cluster_.Channel());
  std::string token;
  {
    grpc::ClientContext context;
    const auto stream = stub->WatchEvents(&context, {});
    v1::WatchEventsResponse event;
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_TRUE(event.has_snapshot());
    EXPECT_EQ(event.snapshot().runs_size(), 0);
    token = event.resume_token();
    context.TryCancel();
  }
  v1::SubmitRunResponse submitted;
  ASSERT_TRUE(Submit(MakeSpec(), &submitted).ok());
  grpc::ClientContext context;
  v1::WatchEventsRequest request;
  request.set_resume_token(token);
  const auto stream = stub->WatchEvents(&context, request);
  v1::WatchEventsResponse event;
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_EQ(event.run().run_id(), submitted.run().run_id())
      << "what happened meanwhile, without a snapshot";
  context.TryCancel();

  grpc::ClientContext other;
  request.set_resume_token("from another life-3");
  const auto fresh = stub->WatchEvents(&other, request);
  ASSERT_TRUE(fresh->Read(&event));
  EXPECT_EQ(event.snapshot().runs_size(), 1);
  other.TryCancel();
}

TEST_F(ServicesTest, Blobs_GoThroughInChunks) {
  GrpcBlobStore remote(cluster_.Channel());
  std::string large(3'500'000, 'x');
  for (size_t i = 0; i < large.size(); i += 1000) large[i] = static_cast<char>(i / 1000);
  for (const std::string& bytes : {large, std::string()}) {
    const auto digest = remote.Put(bytes);
    ASSERT_OK(digest);
    EXPECT_EQ(*digest, Sha256Hex(bytes));
    const auto back = remote.Get(*digest);
    ASSERT_OK(back);
    EXPECT_EQ(*back, bytes);
  }
  EXPECT_THAT(remote.Get(std::string(64, '0')), StatusIs(absl::StatusCode::kNotFound, _));
}

// --- listening

TEST(Listen, FolderOpenToOthers_IsRefused) {
  const ScopedDir dir;
  ASSERT_EQ(::mkdir(dir.File("open").c_str(), 0755), 0);
  EXPECT_THAT(PrepareListening(*ParseTarget("unix:" + dir.File("open/c.sock"))),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("mode 0755")));
}

TEST(Listen, SocketOfADeadProcess_IsTakenOverAndALivingOneNamed) {
  const ScopedDir dir;
  const std::string path = dir.File("c.sock");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  EXPECT_THAT(PrepareListening(*ParseTarget("unix:" + path)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("process " + std::to_string(::getpid()))));
  ::close(fd);
  EXPECT_OK(PrepareListening(*ParseTarget("unix:" + path)));
  struct stat info;
  EXPECT_NE(::lstat(path.c_str(), &info), 0) << "the stale socket is gone";
  WriteFileOrDie(path, "a file");
  EXPECT_THAT(PrepareListening(*ParseTarget("unix:" + path)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("no socket")));
}

TEST_F(ServicesTest, TcpPortInUse_IsRefusedClearlyAndBeyondLoopbackToo) {
  ServerSetup setup;
  setup.targets = {*ParseTarget("127.0.0.1:0")};
  auto first = Server::Start(setup, cluster_.runtime(), cluster_.blobs());
  ASSERT_OK(first);
  setup.targets = {*ParseTarget((*first)->addresses()[0])};
  EXPECT_NE(setup.targets[0].port, 0);
  EXPECT_THAT(Server::Start(setup, cluster_.runtime(), cluster_.blobs()).status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("in use")));
  setup.targets = {*ParseTarget("0.0.0.0:0")};
  EXPECT_THAT(Server::Start(setup, cluster_.runtime(), cluster_.blobs()).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("TLS")));
}

}  // namespace
}  // namespace neolog::coordinator
