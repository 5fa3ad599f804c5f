#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <map>

#include "common/base/hash.h"
#include "common/base/mutex.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(StatusMappingTest, EveryCodeAndMessageSurvivesTheWire) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    EXPECT_EQ(static_cast<int>(ToGrpc(status).error_code()), code);
    EXPECT_EQ(FromGrpc(ToGrpc(status)), status);
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_OK(FromGrpc(grpc::Status::OK));
  EXPECT_EQ(FromGrpc(grpc::Status(grpc::StatusCode::DO_NOT_USE, "x")).code(),
            absl::StatusCode::kUnknown);
}

TEST(ChannelTest, BeyondLoopbackAndTls_AreRefusedWithTheReason) {
  EXPECT_THAT(MakeChannel("10.0.0.1:70"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("connect to")));
  EXPECT_THAT(MakeChannel("127.0.0.1:70", {.tls = {.ca = "ca.pem"}}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("no TLS")));
  EXPECT_THAT(MakeChannel("nonsense"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("host:port")));
  EXPECT_OK(MakeChannel("127.0.0.1:70"));
  grpc::ServerBuilder builder;
  EXPECT_THAT(ConfigureServer({Target{.host = "0.0.0.0", .port = 1}}, {}, builder, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("listen on 0.0.0.0:1")));
  EXPECT_THAT(ConfigureServer({}, {}, builder, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least one")));
}

TEST(ChannelTest, ServerThatAnswersLate_IsWaitedFor) {
  const testing::ScopedDir dir;
  // It listens and says nothing, like a process that gets no time on a busy machine.
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  dir.File("s").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  ASSERT_OK_AND_ASSIGN(const auto channel, MakeChannel("unix:" + dir.File("s")));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(400));
  v1::HasBlobsResponse response;
  // Unavailable would mean that the attempt to connect was given up before.
  EXPECT_THAT(FromGrpc(v1::BlobService::NewStub(channel)->HasBlobs(&context, v1::HasBlobsRequest(),
                                                                   &response)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("")));
  close(listener);
}

/// BlobService over a map, which can be told to send wrong bytes.
class MapBlobService : public v1::BlobService::Service {
 public:
  grpc::Status PutBlob(grpc::ServerContext*, grpc::ServerReader<v1::PutBlobRequest>* reader,
                       v1::PutBlobResponse* response) override {
    v1::PutBlobRequest request;
    std::string digest, bytes;
    while (reader->Read(&request)) {
      if (!request.digest().empty()) digest = request.digest();
      if (request.chunk().size() > kBlobChunkBytes)
        return {grpc::StatusCode::INVALID_ARGUMENT, "chunk too large"};
      bytes += request.chunk();
      MutexLock lock(mutex);
      ++chunks;
    }
    if (Sha256Hex(bytes) != digest)
      return {grpc::StatusCode::INVALID_ARGUMENT, "digest does not fit"};
    response->set_size_bytes(bytes.size());
    MutexLock lock(mutex);
    blobs[digest] = bytes;
    return grpc::Status::OK;
  }
  grpc::Status GetBlob(grpc::ServerContext*, const v1::GetBlobRequest* request,
                       grpc::ServerWriter<v1::GetBlobResponse>* writer) override {
    std::string bytes;
    {
      MutexLock lock(mutex);
      if (!blobs.contains(request->digest())) return {grpc::StatusCode::NOT_FOUND, "no such blob"};
      bytes = blobs[request->digest()];
    }
    for (size_t at = 0; at < bytes.size(); at += kBlobChunkBytes) {
      v1::GetBlobResponse response;
      response.set_chunk(bytes.substr(at, kBlobChunkBytes));
      writer->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status HasBlobs(grpc::ServerContext*, const v1::HasBlobsRequest* request,
                        v1::HasBlobsResponse* response) override {
    MutexLock lock(mutex);
    for (const auto& digest : request->digests()) response->add_present(blobs.contains(digest));
    return grpc::Status::OK;
  }
  Mutex mutex;
  std::map<std::string, std::string> blobs;
  int chunks = 0;
};

TEST(ServerTest, PortInUse_IsSeenByTheCaller_AndGrpcSaysNothingOfItsOwn) {
  ASSERT_OK_AND_ASSIGN(Target target, ParseTarget("127.0.0.1:0"));
  MapBlobService service;
  const auto start = [&](std::vector<int>& ports) {
    grpc::ServerBuilder builder;
    EXPECT_OK(ConfigureServer({target}, {}, builder, &ports));
    builder.RegisterService(&service);
    return builder.BuildAndStart();
  };
  std::vector<int> first, second;
  const std::unique_ptr<grpc::Server> server = start(first);
  ASSERT_NE(server, nullptr);
  target.port = static_cast<uint16_t>(first.at(0));
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  const std::unique_ptr<grpc::Server> other = start(second);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(second.at(0), 0);
}

class GrpcBlobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    std::vector<int> ports;
    ASSERT_OK_AND_ASSIGN(const Target target, ParseTarget("unix:" + dir_.File("s")));
    ASSERT_OK(ConfigureServer({target}, {}, builder, &ports));
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    ASSERT_OK_AND_ASSIGN(channel_, MakeChannel(target.ToString()));
  }
  testing::ScopedDir dir_;
  MapBlobService service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(GrpcBlobStoreTest, PutGetHas_RoundTripInChunks) {
  GrpcBlobStore store(channel_);
  std::string bytes(2 * kBlobChunkBytes + 17, 'x');
  bytes[kBlobChunkBytes] = 'y';
  ASSERT_OK_AND_ASSIGN(const std::string digest, store.Put(bytes));
  EXPECT_EQ(digest, Sha256Hex(bytes));
  EXPECT_EQ(service_.chunks, 3);
  ASSERT_OK_AND_ASSIGN(const std::string back, store.Get(digest));
  EXPECT_EQ(back, bytes);
  ASSERT_OK(store.Put(bytes));
  EXPECT_EQ(service_.chunks, 3) << "what is stored is not sent again";
  ASSERT_OK_AND_ASSIGN(const std::string empty, store.Put(""));
  ASSERT_OK_AND_ASSIGN(const std::string nothing, store.Get(empty));
  EXPECT_EQ(nothing, "");
  ASSERT_OK_AND_ASSIGN(const std::vector<bool> has, store.Has({digest, Sha256Hex("other"), empty}));
  EXPECT_THAT(has, ElementsAre(true, false, true));
}

TEST_F(GrpcBlobStoreTest, WrongBytesTooLargeMissingAndAway_AreTypedErrors) {
  GrpcBlobStore store(channel_, {.timeout = absl::Seconds(5), .max_blob_bytes = 8});
  const std::string digest = Sha256Hex("good");
  EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kNotFound, HasSubstr(digest)));
  service_.blobs[digest] = "evil";
  EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(digest)));
  service_.blobs[digest] = std::string(9, 'g');
  EXPECT_THAT(store.Get(digest),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("limit of 8")));
  server_->Shutdown();
  EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(digest)));
  EXPECT_THAT(store.Put("x"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("storing")));
}

}  // namespace
}  // namespace neolog
