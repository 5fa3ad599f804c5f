#include "worker/collective/nccl/libraries.h"

#include <fmt/format.h>

#include "common/base/dynamic_library.h"

namespace neolog::collective::nccl {
namespace {

absl::Status ResolveNccl(DynamicLibrary& library, NcclFunctions& f) {
  library.Resolve("ncclGetVersion", f.get_version);
  library.Resolve("ncclGetUniqueId", f.get_unique_id);
  library.Resolve("ncclCommInitRankConfig", f.comm_init_rank_config);
  library.Resolve("ncclCommGetAsyncError", f.comm_get_async_error);
  library.Resolve("ncclCommAbort", f.comm_abort);
  library.Resolve("ncclAllGather", f.all_gather);
  library.Resolve("ncclAllReduce", f.all_reduce);
  library.Resolve("ncclBroadcast", f.broadcast);
  library.Resolve("ncclGetErrorString", f.get_error_string);
  library.Resolve("ncclGetLastError", f.get_last_error);
  return library.Complete();
}

absl::Status ResolveCuda(DynamicLibrary& library, CudaFunctions& f) {
  library.Resolve("cudaSetDevice", f.set_device);
  library.Resolve("cudaStreamCreateWithFlags", f.stream_create);
  library.Resolve("cudaStreamDestroy", f.stream_destroy);
  library.Resolve("cudaEventCreateWithFlags", f.event_create);
  library.Resolve("cudaEventRecord", f.event_record);
  library.Resolve("cudaEventQuery", f.event_query);
  library.Resolve("cudaEventDestroy", f.event_destroy);
  library.Resolve("cudaMalloc", f.malloc);
  library.Resolve("cudaFree", f.free);
  library.Resolve("cudaHostAlloc", f.host_alloc);
  library.Resolve("cudaFreeHost", f.free_host);
  library.Resolve("cudaMemcpyAsync", f.memcpy_async);
  library.Resolve("cudaGetErrorString", f.get_error_string);
  return library.Complete();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Libraries>> Load(const LibraryPaths& paths) {
  const auto open = [](const std::string& path,
                       const char* what) -> absl::StatusOr<DynamicLibrary> {
    auto library = DynamicLibrary::Open(path);
    if (library.ok()) return library;
    return NotFound(
        fmt::format("{} cannot be loaded: {}; 'deploy/install-deps.sh --cuda' fetches it", what,
                    ToStd(library.status().message())));
  };
  auto loaded = std::make_shared<Libraries>();
  ASSIGN_OR_RETURN(DynamicLibrary cudart, open(paths.cudart, "the CUDA runtime"));
  RETURN_IF_ERROR(ResolveCuda(cudart, loaded->cuda));
  ASSIGN_OR_RETURN(DynamicLibrary nccl, open(paths.nccl, "NCCL"));
  RETURN_IF_ERROR(ResolveNccl(nccl, loaded->nccl));
  if (loaded->nccl.get_version(&loaded->version) != kSuccess)
    return FailedPrecondition(fmt::format("{} does not tell its version", paths.nccl));
  RETURN_IF_ERROR(CheckVersion(loaded->version));
  return loaded;
}

absl::Status CheckVersion(int version) {
  if (version < 21403) {
    return FailedPrecondition(fmt::format(
        "NCCL {} cannot end an operation that waits for a lost peer: 2.14.3 or later is "
        "needed, and {} is what Neolog is tested with",
        VersionName(version), VersionName(kBuiltForNccl)));
  }
  if (version >= 22803 && version <= 22808) {
    return FailedPrecondition(
        fmt::format("NCCL {} is one of those (2.28.3 to 2.28.8) that may hang when a team goes on "
                    "without a lost peer: use {}",
                    VersionName(version), VersionName(kBuiltForNccl)));
  }
  return absl::OkStatus();
}

std::string VersionName(int version) {
  // Up to 2.8 the code was major * 1000 + minor * 100 + patch.
  if (version < 10000)
    return fmt::format("{}.{}.{}", version / 1000, version / 100 % 10, version % 100);
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace neolog::collective::nccl
