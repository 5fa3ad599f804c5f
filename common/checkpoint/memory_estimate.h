#pragma once

#include <cstdint>
#include <string>

#include "common/checkpoint/checkpoint.h"

namespace neolog {

/// What training is done with, as far as memory depends on it.
struct MemoryQuestion {
  /// "fp32", "bf16" or "fp16".
  std::string precision = "fp32";
  /// The pictures' side in pixels.
  int64_t side = 512;
  /// On a GPU, where every attention is fused, rather than on a CPU.
  bool gpu = false;
};

/// Memory that a worker needs to train, in bytes; an estimate.
///
/// The model. What the backward pass to the text keeps is counted layer by layer from the
/// configurations: the inputs of norms, activations and convolutions (libtorch keeps the latter
/// though a frozen convolution does not need them), queries, keys and values, the feed-forward's
/// gate, the scores where attention is not fused; nothing before the first cross-attention, and
/// nothing of the linear layers. Two constants are measured: the heap holds kHeapShare of what is
/// kept, for its gaps and for what a layer needs while it runs, and the program itself kProgram.
///
/// Checked on a CPU (SD 1.5, 64, 256 and 512 pixels, 1, 2 and 4 samples at once, fp32 and bf16;
/// tests/bench/memory_model.py): within 7 % of the measured peak. Not checked on a GPU.
struct MemoryEstimate {
  static constexpr double kHeapShare = 1.32;
  static constexpr int64_t kProgram = 300'000'000;

  /// The weights in the precision; text encoders are always fp32, and so is the VAE beside fp16.
  int64_t weights = 0;
  /// Of every sample that is computed at once.
  int64_t per_sample = 0;
  int64_t program = kProgram;
  /// As asked.
  std::string precision = "fp32";

  /// With microbatches of `samples`.
  int64_t Total(int64_t samples) const { return weights + samples * per_sample + program; }
  /// The largest microbatch whose total is within `bytes`, a power of two; 0: none.
  int64_t MostSamples(int64_t bytes) const;
};
/// The estimate for a model's configurations; no weight is read.
MemoryEstimate EstimateMemory(const Checkpoint& checkpoint, const MemoryQuestion& question);

/// "batch too large for 8.0 GB (microbatch 4 needs about 14.0 GB): try training.microbatch 1 (about
/// 6.5 GB)", or what else to try where no microbatch fits, or where `microbatch` should have fitted
/// into `bytes`.
std::string DescribeShortage(const MemoryEstimate& estimate, int64_t microbatch, int64_t bytes);

}  // namespace neolog
