#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
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
      // What they held would lie beside the graph's own memory.
      c10::cuda::CUDACachingAllocator::emptyCache();
      const auto pool = at::cuda::graph_pool_handle();
      // Other threads (NCCL's, NVML's) may call CUDA meanwhile: only this one's calls are judged.
      graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      try {
        work();
      } catch (...) {
        EndFailedCapture(pool);
        throw;
      }
      graph_.capture_end();
    }
    side.synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
  }

  void Replay() override {
    const c10::cuda::CUDAGuard device(device_);
    graph_.replay();
  }

 private:
  // Neither the stream nor the allocator may stay in a capture that nobody ends.
  void EndFailedCapture(at::cuda::MempoolId_t pool) {
    try {
      graph_.capture_end();
    } catch (...) {
      // It ends the stream's capture first, and throws when that was broken already: the
      // allocator's part is then still to do.
      c10::cuda::CUDACachingAllocator::endAllocateToPool(device_.index(), pool);
    }
  }

  const c10::Device device_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

absl::StatusOr<GraphFactory> CudaGraphs(c10::Device device) {
  if (!device.is_cuda()) return FailedPrecondition("CUDA graphs need a GPU");
  return GraphFactory([device] { return std::make_unique<CudaGraph>(device); });
}

}  // namespace neolog::torch_support
