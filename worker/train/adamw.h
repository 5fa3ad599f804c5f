#pragma once

#include <cstdint>
#include <span>

namespace neolog::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
};

/// What AdamW works on; spans of equal length over the caller's memory.
struct AdamWBuffers {
  std::span<float> rows;
  std::span<float> exp_avg;
  std::span<float> exp_avg_sq;
};

/// One AdamW update in place; `step` is its number, from 1. With g the gradient, in this order and
/// in float32 (scalars in double, rounded once):
///   rows = rows (1 - lr weight_decay)
///   exp_avg = exp_avg + (1 - beta1) (g - exp_avg)                     fused multiply-add
///   exp_avg_sq = exp_avg_sq beta2 + (1 - beta2) g g                   fused multiply-add
///   rows = rows - lr / (1 - beta1^step) exp_avg / (sqrt(exp_avg_sq) / sqrt(1 - beta2^step) +
///   epsilon)
/// Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; the order of
/// operations is that of torch.optim.AdamW (2.11, single tensor, CPU with AVX2 or AVX512): the
/// moments are equal to it bit for bit. The rows are, wherever its square root rounds correctly;
/// MKL's, which it uses, may be one unit in the last place off, so each update may differ by a
/// relative 2^-22. Ours is the same on every machine.
void AdamWStep(const AdamWOptions& options, double learning_rate, uint64_t step,
               std::span<const float> gradient, const AdamWBuffers& buffers);

}  // namespace neolog::train
