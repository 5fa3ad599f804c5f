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

}  // namespace neolog
