#pragma once

#include <cstddef>

// What is called of NCCL and of the CUDA runtime, declared here so that every build compiles this
// folder and none has to link them. abi_check.cc compares it with the real headers where they are.
extern "C" {
struct ncclComm;
struct CUstream_st;
struct CUevent_st;
}

namespace neolog::collective::nccl {

/// ncclComm_t, cudaStream_t and cudaEvent_t.
using Comm = ncclComm*;
using Stream = CUstream_st*;
using Event = CUevent_st*;

/// ncclUniqueId: what the ranks of one communicator meet by.
struct UniqueId {
  char bytes[128];
};

/// ncclResult_t.
enum Result : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

/// ncclDataType_t.
enum DataType : int { kUint8 = 1, kFloat32 = 7 };

/// ncclRedOp_t.
enum ReduceOp : int { kSum = 0 };

/// ncclConfig_t as NCCL 2.14 had it. Later versions take it by its size and version, and give the
/// fields that it lacks their defaults (NCCL's src/init.cc, parseCommConfig).
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  /// 0: no call waits for a peer, and CommGetAsyncError says when it is done.
  int blocking = 0;
};

/// cudaError_t, as far as it is told apart.
enum CudaError : int { kCudaSuccess = 0, kCudaNotReady = 600 };

/// cudaMemcpyKind.
enum CopyKind : int { kHostToDevice = 1, kDeviceToHost = 2 };

/// cudaStreamNonBlocking, cudaEventDisableTiming, cudaHostAllocDefault.
inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDisableTiming = 2;
inline constexpr unsigned kHostAllocDefault = 0;

}  // namespace neolog::collective::nccl
