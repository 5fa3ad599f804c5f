#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"

namespace neolog {

/// What one part's weights are.
struct PartSummary {
  std::string name;
  int64_t parameters = 0;
  int64_t bytes = 0;  // as stored
  /// Parameters by the type they are stored in ("F16").
  std::map<std::string, int64_t> types;
};
/// Text encoders, UNet and VAE.
std::vector<PartSummary> SummariseParts(const Checkpoint& checkpoint);

/// Memory that training needs, in bytes; an estimate.
struct MemoryEstimate {
  /// The weights in the precision; text encoders are always fp32, and so is the VAE beside fp16.
  int64_t weights = 0;
  /// What the backward pass keeps of one sample: values counted from the UNet's configuration,
  /// times the bytes of one and a factor that makes SD 1.5 at 512 pixels the 0.95 GB that was
  /// measured in 16 bits.
  int64_t per_sample = 0;
  /// The program itself and libtorch: 0.3 GB, as measured.
  int64_t program = 300'000'000;

  int64_t Total(int64_t samples) const { return weights + samples * per_sample + program; }
};
/// `precision` is "fp32", "bf16" or "fp16"; `side` the pictures' in pixels.
MemoryEstimate EstimateMemory(const Checkpoint& checkpoint, const std::string& precision,
                              int64_t side);

}  // namespace neolog
