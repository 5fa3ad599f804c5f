#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/diffusion/config.h"
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

/// CLIP's text model (CLIPTextModel of transformers) with learned rows spliced into its input by
/// position.
class ClipTextEncoder {
 public:
  /// Accepts keys with and without the prefix "text_model.".
  ClipTextEncoder(const WeightReader& reader, const ClipConfig& config);

  /// Hidden states after the final norm, [B, T, hidden_size], in the encoder's type. Arguments as
  /// Model::EncodeText; T at most max_position_embeddings.
  at::Tensor forward(const at::Tensor& input_ids, const at::Tensor& slots,
                     const at::Tensor& rows) const;

  /// The table's vectors of `ids` [n], [n, hidden_size].
  at::Tensor Embed(const at::Tensor& ids) const;

 private:
  at::Tensor token_embedding, position_embedding;
  std::vector<ClipEncoderLayer> layers;
  LayerNorm final_layer_norm;
};

}  // namespace neolog::diffusion
