#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/checkpoint/config.h"

/// Models with random weights that the reference scripts can make as well:
/// tests/reference/seeded_weights.py says how.
namespace neolog::testing {

/// Fills `values` with the weights of the tensor `name` ("unet.conv_in.weight") of `shape`, the
/// same bits everywhere.
void FillSeeded(std::string_view name, const std::vector<int64_t>& shape, uint64_t seed,
                std::span<float> values);

/// Weights of one part ("text_encoder", "unet", "vae") by key, float32.
using Weights = std::map<std::string, at::Tensor>;
Weights SeededTextEncoder(const ClipConfig& config, uint64_t seed);
Weights SeededUNet(const UNetConfig& config, uint64_t seed);
Weights SeededVae(const VaeConfig& config, uint64_t seed);

/// The sizes of SD 1.5.
ClipConfig FullClipConfig();
UNetConfig FullUNetConfig();
VaeConfig FullVaeConfig();

/// Writes SD 1.5's diffusers folder (4.3 GB in fp32, without a tokenizer) with seeded weights, one
/// tensor in memory at a time.
void WriteFullWidthModel(const std::string& folder, uint64_t seed);

/// Writes the diffusers folder whose configurations and tokenizers lie in `configs`, with the
/// seeded weights of the seed in its seed.json (tests/golden/narrow_sd2 and narrow_sdxl).
void WriteSeededModel(const std::string& configs, const std::string& folder);

/// Small configurations with every kind of part.
ClipConfig SmallClipConfig();
UNetConfig SmallUNetConfig();
VaeConfig SmallVaeConfig();

/// Standard normal values [shape] float32 from a fixed generator: the same bits everywhere and in
/// every order of tests.
at::Tensor Normal(const std::vector<int64_t>& shape, uint64_t seed);

}  // namespace neolog::testing
