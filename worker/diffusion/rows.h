#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace neolog::diffusion {

/// A word's rows are kept, summed and updated as one run of floats: those of the first text
/// encoder, [K, D] row-major, then those of the second. This gives each encoder its own, as views
/// of `flat` [F] or [B, F]: [K, D] or [B, K, D] each. F must be a multiple of the widths' sum.
std::vector<at::Tensor> RowBlocks(const at::Tensor& flat, const std::vector<int64_t>& widths);

}  // namespace neolog::diffusion
