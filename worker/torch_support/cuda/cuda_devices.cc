#include "worker/torch_support/cuda/cuda_devices.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#ifndef NEOLOG_WITH_CUDA
#error "a build without CUDA compiles no_cuda.cc instead of this file"
#endif

namespace neolog::torch_support {

bool CompiledWithCuda() { return true; }

absl::StatusOr<int> CudaDeviceCount() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();  // the runtime keeps the error until it is read
    return FailedPrecondition(
        fmt::format("CUDA cannot be used here: {}; use \"cpu\" or install the driver",
                    cudaGetErrorString(error)));
  }
  if (count == 0)
    return FailedPrecondition("CUDA works, but this machine has no CUDA device; use \"cpu\"");
  return count;
}

absl::StatusOr<CudaDevice> DescribeCudaDevice(int index) {
  RETURN_IF_ERROR(CudaDeviceCount());
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
    cudaGetLastError();
    return FailedPrecondition(
        fmt::format("CUDA device {} cannot be asked: {}", index, cudaGetErrorString(error)));
  }
  char pci_bus_id[32] = "";
  if (cudaDeviceGetPCIBusId(pci_bus_id, sizeof(pci_bus_id), index) != cudaSuccess)
    cudaGetLastError();
  return CudaDevice{.name = properties.name,
                    .pci_bus_id = pci_bus_id,
                    .bfloat16 = properties.major >= 8,
                    .memory = properties.totalGlobalMem};
}

absl::StatusOr<uint64_t> PeakCudaMemory(int index) {
  RETURN_IF_ERROR(CudaDeviceCount());
  auto* allocator = c10::cuda::CUDACachingAllocator::get();
  if (!allocator->initialized()) return 0;
  const auto stats =
      c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
  return static_cast<uint64_t>(stats.reserved_bytes[0].peak);  // 0: of all its pools
}

}  // namespace neolog::torch_support
