#pragma once

#include <cstdint>

#include "common/base/status.h"
#include "neolog/v1/agent.pb.h"
#include "worker/diffusion/model.h"

namespace neolog::train {

/// Attention over at most this many latent positions is computed as plain matrix products, which is
/// faster forward and backward; over more by flash attention, whose memory does not grow with their
/// square. 1024 is 256 pixels at factor 8.
inline constexpr int64_t kMatmulPositions = 1024;

/// What a pack is computed under, with every open choice made.
struct PackProfile {
  diffusion::ModelOptions model;
  /// The square side of pictures, of all runs.
  uint32_t resolution = 0;
  int threads = 1;
  /// Samples computed at once.
  uint32_t microbatch = 1;
};

/// Makes the choices that an assignment leaves open, the same on every worker: from its profile,
/// its runs' settings and the configuration files of the model at `model.path`. InvalidArgument
/// when runs of one pack differ in model, precision, resolution, threads or microbatch, or a
/// resolution does not fit the model; FailedPrecondition when the profile was made for another
/// instruction set or libtorch build.
absl::StatusOr<PackProfile> ResolvePackProfile(const v1::Assignment& assignment,
                                               int default_threads, const std::string& device);

}  // namespace neolog::train
