#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "worker/torch_support/cuda/graph.h"

#ifndef NEOLOG_WITH_CUDA
#error "a build without CUDA compiles no_cuda.cc instead of this file"
#endif

namespace neolog::torch_support {
namespace {

// Capture forbids what cuBLAS, cuDNN and the allocator do when they first meet a shape; three is
// what PyTorch's notes on CUDA graphs take.
constexpr int kWarmUps = 3;

class CudaGraph : public Graph {
 public:
  explicit CudaGraph(c10::Device device) : device_(device) {}

  void Capture(const std::function<void()>& work) override {
    const c10::cuda::CUDAGuard device(device_);
    // The default stream cannot be captured.
    const auto present = c10::cuda::getCurrentCUDAStream();
    const auto side = c10::cuda::getStreamFromPool();
    present.synchronize();
    {
      const c10::cuda::CUDAStreamGuard on_side(side);
      for (int i = 0; i < kWarmUps; ++i) work();
      side.synchronize();
      // Other threads (NCCL's, NVML's) may call CUDA meanwhile: only this one's calls are judged.
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      work();
      graph_.capture_end();
    }
    side.synchronize();
  }

  void Replay() override {
    const c10::cuda::CUDAGuard device(device_);
    graph_.replay();
  }

 private:
  const c10::Device device_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

absl::StatusOr<GraphFactory> CudaGraphs(c10::Device device) {
  if (!device.is_cuda()) return FailedPrecondition("CUDA graphs need a GPU");
  return GraphFactory([device] { return std::make_unique<CudaGraph>(device); });
}

}  // namespace neolog::torch_support
