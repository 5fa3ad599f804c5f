#pragma once

#include <optional>
#include <string>

#include "common/checkpoint/weights.h"

namespace neolog {

/// What a file of tensors is when it is not a whole SD 1.x, SD 2.x or SDXL model, as a sentence
/// that ends with what to do: a LoRA, a VAE, an embedding, a ControlNet, a UNet or text encoder
/// alone, an SDXL refiner, a model of another kind. Nothing when it looks like a whole model.
std::optional<std::string> DescribeOther(const WeightTable& tensors);

/// What a UNet with other than four input channels is for: "an inpainting model", or its channels.
std::string DescribeInputChannels(int64_t channels);

}  // namespace neolog
