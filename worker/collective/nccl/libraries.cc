#include "worker/collective/nccl/libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace neolog::collective::nccl {
namespace {

/// A loaded library; never unloaded, since its threads may outlive every use of it.
class Library {
 public:
  static absl::StatusOr<Library> Open(const std::string& path, const char* what) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return Library(path, handle);
    const char* error = dlerror();
    return NotFound(
        fmt::format("{} cannot be loaded: {}; 'deploy/install-deps.sh --cuda' fetches it", what,
                    error == nullptr ? path : error));
  }

  /// Resolves `name` into `function`; the first that is missing stays in `missing`.
  template <typename Function>
  void Resolve(const char* name, Function& function, std::string& missing) const {
    function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (function == nullptr && missing.empty()) missing = name;
  }

  absl::Status Complete(const std::string& missing) const {
    if (missing.empty()) return absl::OkStatus();
    return NotFound(fmt::format("{} has no {}: it is another library, or too old", path_, missing));
  }

 private:
  Library(std::string path, void* handle) : path_(std::move(path)), handle_(handle) {}
  std::string path_;
  void* handle_;
};

absl::Status ResolveNccl(const Library& library, NcclFunctions& f) {
  std::string missing;
  library.Resolve("ncclGetVersion", f.get_version, missing);
  library.Resolve("ncclGetUniqueId", f.get_unique_id, missing);
  library.Resolve("ncclCommInitRankConfig", f.comm_init_rank_config, missing);
  library.Resolve("ncclCommGetAsyncError", f.comm_get_async_error, missing);
  library.Resolve("ncclCommAbort", f.comm_abort, missing);
  library.Resolve("ncclAllGather", f.all_gather, missing);
  library.Resolve("ncclAllReduce", f.all_reduce, missing);
  library.Resolve("ncclBroadcast", f.broadcast, missing);
  library.Resolve("ncclGetErrorString", f.get_error_string, missing);
  library.Resolve("ncclGetLastError", f.get_last_error, missing);
  return library.Complete(missing);
}

absl::Status ResolveCuda(const Library& library, CudaFunctions& f) {
  std::string missing;
  library.Resolve("cudaSetDevice", f.set_device, missing);
  library.Resolve("cudaStreamCreateWithFlags", f.stream_create, missing);
  library.Resolve("cudaStreamDestroy", f.stream_destroy, missing);
  library.Resolve("cudaEventCreateWithFlags", f.event_create, missing);
  library.Resolve("cudaEventRecord", f.event_record, missing);
  library.Resolve("cudaEventQuery", f.event_query, missing);
  library.Resolve("cudaEventDestroy", f.event_destroy, missing);
  library.Resolve("cudaMalloc", f.malloc, missing);
  library.Resolve("cudaFree", f.free, missing);
  library.Resolve("cudaHostAlloc", f.host_alloc, missing);
  library.Resolve("cudaFreeHost", f.free_host, missing);
  library.Resolve("cudaMemcpyAsync", f.memcpy_async, missing);
  library.Resolve("cudaGetErrorString", f.get_error_string, missing);
  return library.Complete(missing);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Libraries>> Load(const LibraryPaths& paths) {
  auto loaded = std::make_shared<Libraries>();
  ASSIGN_OR_RETURN(const Library cudart, Library::Open(paths.cudart, "the CUDA runtime"));
  RETURN_IF_ERROR(ResolveCuda(cudart, loaded->cuda));
  ASSIGN_OR_RETURN(const Library nccl, Library::Open(paths.nccl, "NCCL"));
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
