#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

#include "common/base/status.h"

namespace neolog::torch_support {

/// Work on a device that is recorded once and then run again as a whole, which costs the host one
/// call instead of one an operation. All that changes from run to run must lie in tensors that
/// stay, whose values the work reads and writes; it may not ask the device for a value. One thread.
class Graph {
 public:
  virtual ~Graph() = default;
  /// Records `work`, once an object. The work itself is run several times before: libraries set
  /// themselves up and allocators fill then. Throws as libtorch does.
  virtual void Capture(const std::function<void()>& work) = 0;
  /// Runs what was recorded, after everything that was queued before. Throws as libtorch does.
  virtual void Replay() = 0;
};

/// Makes a graph for each piece of work.
using GraphFactory = std::function<std::unique_ptr<Graph>()>;

/// CUDA graphs on `device`. FailedPrecondition on a CPU, and in a build without CUDA.
absl::StatusOr<GraphFactory> CudaGraphs(c10::Device device);

}  // namespace neolog::torch_support
