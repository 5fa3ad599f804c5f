#include "worker/torch_support/cuda/cuda_devices.h"
#include "worker/torch_support/cuda/graph.h"

#ifdef NEOLOG_WITH_CUDA
#error "a build with CUDA compiles cuda_devices.cc instead of this file"
#endif

namespace neolog::torch_support {

bool CompiledWithCuda() { return false; }

absl::StatusOr<int> CudaDeviceCount() {
  return FailedPrecondition(
      "this build has no CUDA; use \"cpu\", or configure with the 'cuda' preset after "
      "'deploy/install-deps.sh --cuda'");
}

absl::StatusOr<CudaDevice> DescribeCudaDevice(int) { return CudaDeviceCount().status(); }

absl::StatusOr<GraphFactory> CudaGraphs(c10::Device) {
  return FailedPrecondition("CUDA graphs need a GPU, and this build has no CUDA");
}

absl::StatusOr<uint64_t> PeakCudaMemory(int) { return CudaDeviceCount().status(); }

}  // namespace neolog::torch_support
