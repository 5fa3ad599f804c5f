#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "worker/collective/nccl/abi.h"

namespace neolog::collective::nccl {

/// The calls of NCCL, each with the contract of NCCL's user guide.
struct NcclFunctions {
  Result (*get_version)(int* version) = nullptr;
  Result (*get_unique_id)(UniqueId* id) = nullptr;
  Result (*comm_init_rank_config)(Comm* comm, int ranks, UniqueId id, int rank,
                                  Config* config) = nullptr;
  Result (*comm_get_async_error)(Comm comm, Result* error) = nullptr;
  Result (*comm_abort)(Comm comm) = nullptr;
  Result (*all_gather)(const void* send, void* receive, size_t count, DataType type, Comm comm,
                       Stream stream) = nullptr;
  Result (*all_reduce)(const void* send, void* receive, size_t count, DataType type, ReduceOp op,
                       Comm comm, Stream stream) = nullptr;
  Result (*broadcast)(const void* send, void* receive, size_t count, DataType type, int root,
                      Comm comm, Stream stream) = nullptr;
  const char* (*get_error_string)(Result result) = nullptr;
  const char* (*get_last_error)(Comm comm) = nullptr;
};

/// The calls of the CUDA runtime that moving bytes to NCCL and back takes.
struct CudaFunctions {
  CudaError (*set_device)(int device) = nullptr;
  CudaError (*stream_create)(Stream* stream, unsigned flags) = nullptr;
  CudaError (*stream_destroy)(Stream stream) = nullptr;
  CudaError (*event_create)(Event* event, unsigned flags) = nullptr;
  CudaError (*event_record)(Event event, Stream stream) = nullptr;
  CudaError (*event_query)(Event event) = nullptr;
  CudaError (*event_destroy)(Event event) = nullptr;
  CudaError (*malloc)(void** pointer, size_t bytes) = nullptr;
  CudaError (*free)(void* pointer) = nullptr;
  CudaError (*host_alloc)(void** pointer, size_t bytes, unsigned flags) = nullptr;
  CudaError (*free_host)(void* pointer) = nullptr;
  CudaError (*memcpy_async)(void* to, const void* from, size_t bytes, CopyKind kind,
                            Stream stream) = nullptr;
  const char* (*get_error_string)(CudaError error) = nullptr;
};

/// Both, resolved from libraries that stay loaded for the life of the process.
struct Libraries {
  NcclFunctions nccl;
  CudaFunctions cuda;
  /// NCCL's version as it codes it, 22809 for 2.28.9.
  int version = 0;
};

/// Where the libraries are: a name that the loader finds, or an absolute path.
struct LibraryPaths {
  std::string nccl = "libnccl.so.2";
  std::string cudart = "libcudart.so.13";
};

/// The NCCL whose header abi.h was compared with.
inline constexpr int kBuiltForNccl = 22809;

/// Loads both without showing their symbols to anything else. NotFound when one is not there or
/// lacks a call (it is named), FailedPrecondition for a version that CheckVersion refuses.
absl::StatusOr<std::shared_ptr<const Libraries>> Load(const LibraryPaths& paths);

/// FailedPrecondition for versions that cannot do what is needed or are known to be bad: before
/// 2.14.3 there are no communicators that do not block; 2.28.3 to 2.28.8 hang after an abort.
absl::Status CheckVersion(int version);

/// "2.28.9" of 22809.
std::string VersionName(int version);

}  // namespace neolog::collective::nccl
