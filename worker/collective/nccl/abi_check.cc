// Nothing runs here: it fails to compile where abi.h no longer says what the real headers say.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <type_traits>

#include "worker/collective/nccl/libraries.h"

namespace neolog::collective::nccl {
namespace {

static_assert(std::is_same_v<Comm, ncclComm_t>);
static_assert(std::is_same_v<Stream, cudaStream_t>);
static_assert(std::is_same_v<Event, cudaEvent_t>);
static_assert(sizeof(UniqueId) == sizeof(ncclUniqueId) &&
              alignof(UniqueId) == alignof(ncclUniqueId));

static_assert(kSuccess == int{ncclSuccess} && kUnhandledCudaError == int{ncclUnhandledCudaError} &&
              kSystemError == int{ncclSystemError} && kInternalError == int{ncclInternalError} &&
              kInvalidArgument == int{ncclInvalidArgument} &&
              kInvalidUsage == int{ncclInvalidUsage} && kRemoteError == int{ncclRemoteError} &&
              kInProgress == int{ncclInProgress});
static_assert(kUint8 == int{ncclUint8} && kFloat32 == int{ncclFloat32} && kSum == int{ncclSum});

// The fields that are written lie where the header has them; the rest gets its defaults by version.
static_assert(offsetof(Config, size) == offsetof(ncclConfig_t, size));
static_assert(offsetof(Config, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(Config, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(Config, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(sizeof(Config) <= sizeof(ncclConfig_t));
static_assert(NCCL_VERSION(2, 14, 0) == 21400);
static_assert(NCCL_VERSION_CODE == kBuiltForNccl, "deploy/install-deps.sh fetches another NCCL");

static_assert(kCudaSuccess == int{cudaSuccess} && kCudaNotReady == int{cudaErrorNotReady});
static_assert(kHostToDevice == int{cudaMemcpyHostToDevice} &&
              kDeviceToHost == int{cudaMemcpyDeviceToHost});
static_assert(kStreamNonBlocking == cudaStreamNonBlocking &&
              kEventDisableTiming == cudaEventDisableTiming &&
              kHostAllocDefault == cudaHostAllocDefault);

/// Enumerations and the structs of this folder stand for the headers' own.
template <typename T>
struct Stand {
  using Type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <>
struct Stand<ncclUniqueId> {
  using Type = UniqueId;
};
template <>
struct Stand<ncclUniqueId*> {
  using Type = UniqueId*;
};
template <>
struct Stand<ncclConfig_t*> {
  using Type = Config*;
};
template <>
struct Stand<ncclResult_t*> {
  using Type = Result*;
};

template <typename Ours, typename Real>
struct SameCall : std::false_type {};
template <typename R1, typename... A1, typename R2, typename... A2>
struct SameCall<R1 (*)(A1...), R2 (*)(A2...)>
    : std::bool_constant<
          std::is_same_v<typename Stand<R1>::Type, typename Stand<R2>::Type> &&
          std::is_same_v<void(typename Stand<A1>::Type...), void(typename Stand<A2>::Type...)>> {};

#define NEOLOG_SAME_CALL(table, member, real) \
  static_assert(SameCall<decltype(table::member), decltype(&real)>::value, #real)
NEOLOG_SAME_CALL(NcclFunctions, get_version, ncclGetVersion);
NEOLOG_SAME_CALL(NcclFunctions, get_unique_id, ncclGetUniqueId);
NEOLOG_SAME_CALL(NcclFunctions, comm_init_rank_config, ncclCommInitRankConfig);
NEOLOG_SAME_CALL(NcclFunctions, comm_get_async_error, ncclCommGetAsyncError);
NEOLOG_SAME_CALL(NcclFunctions, comm_abort, ncclCommAbort);
NEOLOG_SAME_CALL(NcclFunctions, all_gather, ncclAllGather);
NEOLOG_SAME_CALL(NcclFunctions, all_reduce, ncclAllReduce);
NEOLOG_SAME_CALL(NcclFunctions, broadcast, ncclBroadcast);
NEOLOG_SAME_CALL(NcclFunctions, get_error_string, ncclGetErrorString);
NEOLOG_SAME_CALL(NcclFunctions, get_last_error, ncclGetLastError);
NEOLOG_SAME_CALL(CudaFunctions, set_device, cudaSetDevice);
NEOLOG_SAME_CALL(CudaFunctions, stream_create, cudaStreamCreateWithFlags);
NEOLOG_SAME_CALL(CudaFunctions, stream_destroy, cudaStreamDestroy);
NEOLOG_SAME_CALL(CudaFunctions, event_create, cudaEventCreateWithFlags);
NEOLOG_SAME_CALL(CudaFunctions, event_record, cudaEventRecord);
NEOLOG_SAME_CALL(CudaFunctions, event_query, cudaEventQuery);
NEOLOG_SAME_CALL(CudaFunctions, event_destroy, cudaEventDestroy);
NEOLOG_SAME_CALL(CudaFunctions, free_host, cudaFreeHost);
NEOLOG_SAME_CALL(CudaFunctions, memcpy_async, cudaMemcpyAsync);
NEOLOG_SAME_CALL(CudaFunctions, get_error_string, cudaGetErrorString);
#undef NEOLOG_SAME_CALL
// These have overloads in C++; the C one, which is what is resolved, is chosen by our signature.
static_assert(SameCall<decltype(CudaFunctions::malloc),
                       decltype(static_cast<cudaError_t (*)(void**, size_t)>(&cudaMalloc))>::value);
static_assert(SameCall<decltype(CudaFunctions::free),
                       decltype(static_cast<cudaError_t (*)(void*)>(&cudaFree))>::value);
static_assert(SameCall<decltype(CudaFunctions::host_alloc),
                       decltype(static_cast<cudaError_t (*)(void**, size_t, unsigned)>(
                           &cudaHostAlloc))>::value);

}  // namespace
}  // namespace neolog::collective::nccl
