#pragma once

#include <grpcpp/grpcpp.h>

#include "common/storage/blob_store.h"
#include "neolog/v1/blobs.grpc.pb.h"

namespace neolog::coordinator {

/// Blobs over the wire, in chunks.
class BlobServiceImpl : public v1::BlobService::CallbackService {
 public:
  /// Puts of more than `max_blob_bytes` are refused as RESOURCE_EXHAUSTED. `blobs` must outlive
  /// every call.
  BlobServiceImpl(BlobStore& blobs, size_t max_blob_bytes)
      : blobs_(blobs), max_blob_bytes_(max_blob_bytes) {}
  grpc::ServerReadReactor<v1::PutBlobRequest>* PutBlob(grpc::CallbackServerContext* context,
                                                       v1::PutBlobResponse* response) override;
  grpc::ServerWriteReactor<v1::GetBlobResponse>* GetBlob(
      grpc::CallbackServerContext* context, const v1::GetBlobRequest* request) override;
  grpc::ServerUnaryReactor* HasBlobs(grpc::CallbackServerContext* context,
                                     const v1::HasBlobsRequest* request,
                                     v1::HasBlobsResponse* response) override;

 private:
  BlobStore& blobs_;
  const size_t max_blob_bytes_;
};

}  // namespace neolog::coordinator
