#include "common/rpc/blob_client.h"

#include <fmt/format.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>

#include "common/base/hash.h"
#include "common/rpc/channel.h"
#include "common/rpc/status.h"

namespace neolog {
namespace {

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
}

/// A deadline that passed says the same to callers as a connection that broke: the coordinator
/// cannot be reached.
absl::Status Result(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Unavailable("the coordinator did not answer in time: " + status.error_message());
  }
  return FromGrpc(status);
}

}  // namespace

GrpcBlobStore::GrpcBlobStore(std::shared_ptr<grpc::Channel> channel, GrpcBlobStoreOptions options)
    : options_(options), stub_(v1::BlobService::NewStub(std::move(channel))) {}

absl::StatusOr<std::string> GrpcBlobStore::Put(std::string_view bytes) {
  const std::string digest = Sha256Hex(bytes);
  const std::string what = fmt::format("storing blob {} ({} bytes)", digest, bytes.size());
  ASSIGN_OR_RETURN_WITH(const std::vector<bool> present, Has({digest}), what);
  if (present[0]) return digest;
  grpc::ClientContext context;
  SetDeadline(context, options_.timeout);
  v1::PutBlobResponse response;
  auto writer = stub_->PutBlob(&context, &response);
  v1::PutBlobRequest request;
  request.set_digest(digest);
  size_t offset = 0;
  do {
    const std::string_view chunk = bytes.substr(offset, kBlobChunkBytes);
    request.set_chunk(chunk.data(), chunk.size());
    if (!writer->Write(request)) break;  // Finish says why
    offset += chunk.size();
    request.clear_digest();
  } while (offset < bytes.size());
  writer->WritesDone();
  RETURN_IF_ERROR_WITH(Result(writer->Finish()), what);
  if (response.size_bytes() != bytes.size()) {
    return DataLoss(
        fmt::format("{}: the coordinator stored {} bytes", what, response.size_bytes()));
  }
  return digest;
}

absl::StatusOr<std::string> GrpcBlobStore::Get(std::string_view digest) {
  const std::string what = fmt::format("reading blob {}", digest);
  grpc::ClientContext context;
  SetDeadline(context, options_.timeout);
  v1::GetBlobRequest request;
  request.set_digest(std::string(digest));
  auto reader = stub_->GetBlob(&context, request);
  std::string bytes;
  v1::GetBlobResponse response;
  bool too_large = false;
  while (reader->Read(&response)) {
    if (bytes.size() + response.chunk().size() > options_.max_blob_bytes) {
      too_large = true;
      context.TryCancel();
      break;
    }
    bytes += response.chunk();
  }
  const absl::Status status = Result(reader->Finish());
  if (too_large) {
    return absl::ResourceExhaustedError(
        fmt::format("{}: larger than the limit of {} bytes", what, options_.max_blob_bytes));
  }
  RETURN_IF_ERROR_WITH(status, what);
  if (Sha256Hex(bytes) != digest) {
    return DataLoss(fmt::format("{}: the {} bytes that came have digest {}", what, bytes.size(),
                                Sha256Hex(bytes)));
  }
  return bytes;
}

absl::StatusOr<std::vector<bool>> GrpcBlobStore::Has(const std::vector<std::string>& digests) {
  grpc::ClientContext context;
  SetDeadline(context, options_.timeout);
  v1::HasBlobsRequest request;
  for (const std::string& digest : digests) request.add_digests(digest);
  v1::HasBlobsResponse response;
  RETURN_IF_ERROR_WITH(Result(stub_->HasBlobs(&context, request, &response)), "asking for blobs");
  if (response.present_size() != static_cast<int>(digests.size())) {
    return Internal(fmt::format("asked for {} blobs, the coordinator answered for {}",
                                digests.size(), response.present_size()));
  }
  return std::vector<bool>(response.present().begin(), response.present().end());
}

}  // namespace neolog
