#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "common/checkpoint/memory_estimate.h"
#include "neolog/v1/agent.pb.h"
#include "worker/diffusion/model.h"

namespace neolog::train {

/// Latents of at most this many positions are attended to by plain matrix products, larger ones by
/// flash attention, whose memory does not grow with the square. 256 is 16 x 16, where both take the
/// same time: measured forward and backward in fp32, 8 heads of 40, one thread, matmul against
/// flash, 256 positions take 4.9 and 4.8 ms, 1024 146 and 76 ms, 4096 2467 and 1195 ms; a step of
/// the demo's model, whose heads are few and small, 55 and 62 ms.
inline constexpr int64_t kMatmulPositions = 256;

/// What a pack is computed under, with every open choice made.
struct PackProfile {
  diffusion::ModelOptions model;
  /// Which kernels libtorch takes for the UNet's attention, in words.
  std::string attention_kernels;
  /// The square side of pictures, of all runs.
  uint32_t resolution = 0;
  int threads = 1;
  /// Samples computed at once.
  uint32_t microbatch = 1;
  /// Whether the UNet's part of a step is recorded as a CUDA graph.
  bool graph = false;
  /// Whether members add up gradients before they share them (training.reduce: fast).
  bool sums = false;
  /// What the microbatch needs of the device's memory.
  MemoryEstimate memory;
  /// What the bits of anything computed under this profile depend on beside the shapes, in one
  /// line.
  std::string numerics;
};

/// Makes the choices that an assignment leaves open, the same on every worker: from its profile,
/// its runs' settings and the configuration files of the model at `model.path`. InvalidArgument
/// when runs of one pack differ in model, precision, resolution, threads, microbatch, reduction or
/// graph, a resolution does not fit the model, or a graph is asked for on a CPU; FailedPrecondition
/// when the profile was made for another instruction set or libtorch build, or attention would take
/// the slow path on this device and a run does not allow it.
absl::StatusOr<PackProfile> ResolvePackProfile(const v1::Assignment& assignment,
                                               int default_threads, const std::string& device);

}  // namespace neolog::train
