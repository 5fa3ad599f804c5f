#include "coordinator/grpc/blob_grpc.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "common/base/hash.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"

namespace neolog::coordinator {
namespace {

class PutReactor : public grpc::ServerReadReactor<v1::PutBlobRequest> {
 public:
  PutReactor(BlobStore& blobs, size_t max_bytes, v1::PutBlobResponse* response)
      : blobs_(blobs), max_bytes_(max_bytes), response_(response) {}

  void Start(std::shared_ptr<PutReactor> self) {
    self_ = std::move(self);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(ToGrpc(Store()));
      return;
    }
    if (digest_.empty()) digest_ = request_.digest();
    if (request_.chunk().size() > kBlobChunkBytes) {
      Finish(ToGrpc(InvalidArgument(fmt::format("a chunk of {} bytes; at most {} are taken",
                                                request_.chunk().size(), kBlobChunkBytes))));
      return;
    }
    if (bytes_.size() + request_.chunk().size() > max_bytes_) {
      Finish(ToGrpc(absl::ResourceExhaustedError(
          fmt::format("blob {} has more than {} bytes", digest_, max_bytes_))));
      return;
    }
    bytes_ += request_.chunk();
    StartRead(&request_);
  }

  void OnDone() override { self_.reset(); }

 private:
  absl::Status Store() {
    if (const std::string arrived = Sha256Hex(bytes_); arrived != digest_) {
      return InvalidArgument(fmt::format("{} bytes arrived with digest {}, '{}' was announced",
                                         bytes_.size(), arrived, digest_));
    }
    RETURN_IF_ERROR(blobs_.Put(bytes_));
    response_->set_size_bytes(bytes_.size());
    return absl::OkStatus();
  }

  BlobStore& blobs_;
  const size_t max_bytes_;
  v1::PutBlobResponse* const response_;
  std::shared_ptr<PutReactor> self_;
  v1::PutBlobRequest request_;
  std::string digest_;
  std::string bytes_;
};

class GetReactor : public grpc::ServerWriteReactor<v1::GetBlobResponse> {
 public:
  void Start(std::shared_ptr<GetReactor> self, absl::StatusOr<std::string> bytes) {
    self_ = std::move(self);
    if (!bytes.ok()) {
      Finish(ToGrpc(bytes.status()));
      return;
    }
    bytes_ = *std::move(bytes);
    Advance();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::CANCELLED);
      return;
    }
    Advance();
  }

  void OnDone() override { self_.reset(); }

 private:
  void Advance() {
    if (sent_ == bytes_.size()) {
      Finish(grpc::Status::OK);
      return;
    }
    const size_t size = std::min(kBlobChunkBytes, bytes_.size() - sent_);
    response_.set_chunk(bytes_.substr(sent_, size));
    sent_ += size;
    StartWrite(&response_);
  }

  std::shared_ptr<GetReactor> self_;
  std::string bytes_;
  size_t sent_ = 0;
  v1::GetBlobResponse response_;
};

}  // namespace

grpc::ServerReadReactor<v1::PutBlobRequest>* BlobServiceImpl::PutBlob(
    grpc::CallbackServerContext*, v1::PutBlobResponse* response) {
  auto reactor = std::make_shared<PutReactor>(blobs_, max_blob_bytes_, response);
  reactor->Start(reactor);
  return reactor.get();
}

grpc::ServerWriteReactor<v1::GetBlobResponse>* BlobServiceImpl::GetBlob(
    grpc::CallbackServerContext*, const v1::GetBlobRequest* request) {
  auto reactor = std::make_shared<GetReactor>();
  reactor->Start(reactor, blobs_.Get(request->digest()));
  return reactor.get();
}

grpc::ServerUnaryReactor* BlobServiceImpl::HasBlobs(grpc::CallbackServerContext* context,
                                                    const v1::HasBlobsRequest* request,
                                                    v1::HasBlobsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto present = blobs_.Has({request->digests().begin(), request->digests().end()});
  if (present.ok()) {
    for (const bool stored : *present) response->add_present(stored);
  }
  reactor->Finish(ToGrpc(present.status()));
  return reactor;
}

}  // namespace neolog::coordinator
