#pragma once

#include <cstdint>

namespace neolog {

/// On a CPU, attention with at least this many scores a head (queries times keys) uses libtorch's
/// fused kernel where a profile asks for flash; below, the scores are formed. On a GPU every
/// attention of the UNet is fused then. Known here because memory depends on it.
inline constexpr int64_t kFusedFromScores = int64_t{1} << 21;

}  // namespace neolog
