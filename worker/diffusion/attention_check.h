#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "common/checkpoint/config.h"
#include "worker/diffusion/model.h"

namespace neolog::diffusion {

/// Asks libtorch which kernel it would take, forward and backward, for every attention of the UNet
/// that is to be fused on `options.device` (see Attention in layers.h) at a latent side of `side`.
/// Returns them in words, for the log: "flash for heads of 40, 80 and 160"; "none is fused" under
/// AttentionKernel::kMatmul and where all are small. FailedPrecondition when one would fall back to
/// the path that keeps all scores, which costs memory and time, and says nothing. Other errors are
/// SelectDevice's.
absl::StatusOr<std::string> CheckFusedAttention(const UNetConfig& config, int64_t side,
                                                const ModelOptions& options);

}  // namespace neolog::diffusion
