#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/storage/blob_store.h"
#include "neolog/v1/blobs.grpc.pb.h"

namespace neolog {

/// How GrpcBlobStore behaves.
struct GrpcBlobStoreOptions {
  /// A call that has not ended by then is Unavailable: the coordinator may be stopped without its
  /// connection breaking.
  absl::Duration timeout = absl::Seconds(30);
  /// Get refuses larger blobs as ResourceExhausted.
  size_t max_blob_bytes = size_t{1} << 30;
};

/// The coordinator's blobs, over BlobService. What is read is checked against its digest (DataLoss
/// when it does not fit); Put does not send what is already there. Any thread. Calls block;
/// Unavailable when the coordinator is away.
class GrpcBlobStore : public BlobStore {
 public:
  explicit GrpcBlobStore(std::shared_ptr<grpc::Channel> channel, GrpcBlobStoreOptions options = {});
  absl::StatusOr<std::string> Put(std::string_view bytes) override;
  absl::StatusOr<std::string> Get(std::string_view digest) override;
  absl::StatusOr<std::vector<bool>> Has(const std::vector<std::string>& digests) override;

 private:
  const GrpcBlobStoreOptions options_;
  const std::unique_ptr<v1::BlobService::Stub> stub_;
};

}  // namespace neolog
