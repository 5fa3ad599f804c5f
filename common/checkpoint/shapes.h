#pragma once

#include "common/checkpoint/config.h"
#include "common/checkpoint/weights.h"

namespace neolog {

/// The weights that a configuration asks for: shape by key, as diffusers and transformers name
/// them. Exactly what worker/diffusion takes (a test there compares).
Shapes ClipShapes(const ClipConfig& config);
Shapes UNetShapes(const UNetConfig& config);
Shapes VaeShapes(const VaeConfig& config);

/// Configurations from weights alone, by diffusers' keys. What shapes do not say has the value that
/// every published model has (32 groups in group normalisations, for example) or is left to the
/// caller, as named below. InvalidArgument names the weight that should have told a size.
///
/// A text encoder: heads of 64 channels; hidden_act is the caller's. projection_dim is set when
/// text_projection is there.
absl::StatusOr<ClipConfig> ClipFromWeights(const WeightTable& weights, const std::string& name);
/// A UNet: num_attention_heads, sample_size, use_linear_projection and addition_time_embed_dim are
/// the caller's.
absl::StatusOr<UNetConfig> UNetFromWeights(const WeightTable& weights, const std::string& name);
/// A VAE: scaling_factor is the caller's.
absl::StatusOr<VaeConfig> VaeFromWeights(const WeightTable& weights, const std::string& name);

}  // namespace neolog
