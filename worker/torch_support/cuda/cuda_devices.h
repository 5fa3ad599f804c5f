#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"

namespace neolog::torch_support {

/// True when the program was built with NEOLOG_CUDA=ON.
bool CompiledWithCuda();

/// CUDA devices of this machine, at least 1. FailedPrecondition says what is missing: a build with
/// CUDA, a driver, or a device.
absl::StatusOr<int> CudaDeviceCount();

/// One CUDA device.
struct CudaDevice {
  /// As the driver calls it, for example "NVIDIA H100 80GB HBM3".
  std::string name;
  /// Its place, as NVML takes it: "0000:3b:00.0".
  std::string pci_bus_id;
  /// True when it computes in bfloat16 itself (compute capability 8.0 and later).
  bool bfloat16 = false;
  /// Bytes of its memory.
  uint64_t memory = 0;
};
/// Device `index`. Errors as CudaDeviceCount, and for an index beyond it.
absl::StatusOr<CudaDevice> DescribeCudaDevice(int index);

/// The most bytes of device `index` that libtorch has held at once in this process: tensors, and
/// what its allocator keeps for the next ones. 0 before the device is used.
absl::StatusOr<uint64_t> PeakCudaMemory(int index);

}  // namespace neolog::torch_support
