#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "common/checkpoint/config.h"
#include "worker/diffusion/layers.h"

namespace neolog::diffusion {

/// CLIP's self-attention with its three projections.
class ClipAttention {
 public:
  ClipAttention(const WeightReader& reader, const ClipConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  Linear q_proj, k_proj, v_proj, out_proj;
  int64_t heads_;
};

/// CLIP's feed-forward layer.
class ClipMlp {
 public:
  ClipMlp(const WeightReader& reader, const ClipConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  Linear fc1, fc2;
  Activation activation_;
};

/// One pre-norm transformer layer of CLIP.
class ClipEncoderLayer {
 public:
  ClipEncoderLayer(const WeightReader& reader, const ClipConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  LayerNorm layer_norm1;
  ClipAttention self_attn;
  LayerNorm layer_norm2;
  ClipMlp mlp;
};

/// Which hidden states the UNet gets: those after the last layer and the final norm (SD 1 and 2),
/// or those that the last layer would get, without the norm (SDXL).
enum class HiddenStates { kFinal, kPenultimate };

/// What a text encoder gives, in its own type.
struct TextFeatures {
  at::Tensor hidden;  // [B, T, hidden_size]
  at::Tensor pooled;  // [B, projection_dim], of the first chunk; undefined without a projection
};

/// CLIP's text model (CLIPTextModel and CLIPTextModelWithProjection of transformers) with learned
/// rows spliced into its input by position.
class ClipTextEncoder {
 public:
  /// Accepts keys with and without the prefix "text_model.".
  ClipTextEncoder(const WeightReader& reader, const ClipConfig& config, HiddenStates hidden);

  /// T is at most max_position_embeddings, or a multiple of it: then each chunk of so many
  /// positions is encoded by a call of its own, which gives the bits of that chunk alone, and the
  /// hidden states are put side by side. They are weighed chunk by chunk as A1111 does it (its
  /// "Original" emphasis): multiplied by the weights, then by the ratio of the chunk's mean before
  /// to that after. The pooled output is the first chunk's, taken where `end_token` first stands in
  /// each prompt under slot -1, after the final norm, and projected; every prompt must have one
  /// then. Weights do not touch it.
  TextFeatures forward(const TextInput& input, int64_t end_token) const;

  /// The table's vectors of `ids` [n], [n, hidden_size].
  at::Tensor Embed(const at::Tensor& ids) const;

 private:
  at::Tensor Splice(const TextInput& input) const;
  TextFeatures EncodeChunk(const TextInput& input, int64_t end_token, bool pool) const;

  HiddenStates hidden_;
  at::Tensor token_embedding, position_embedding;
  std::vector<ClipEncoderLayer> layers;
  LayerNorm final_layer_norm;
  std::optional<Linear> text_projection;
};

}  // namespace neolog::diffusion
