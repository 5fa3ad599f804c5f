#include "worker/diffusion/text_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>
#include <c10/util/Exception.h>

namespace neolog::diffusion {
namespace {

WeightReader TextModel(const WeightReader& reader) {
  return reader.weights().HasPrefix(reader.Key("text_model.")) ? reader / "text_model" : reader;
}

// [B, T, C] with each position's weight. The mean is each prompt's own, so that it does not depend
// on what else is in the batch; where no weight differs from 1 nothing changes, not even a last
// bit.
at::Tensor Weighed(const at::Tensor& hidden, const at::Tensor& weights) {
  const at::Tensor product = hidden * weights.unsqueeze(-1);
  const at::Tensor ratio = hidden.mean({1, 2}, /*keepdim=*/true) / product.mean({1, 2}, true);
  return at::where(weights.eq(1).all(1).view({-1, 1, 1}), hidden, product * ratio);
}

}  // namespace

ClipAttention::ClipAttention(const WeightReader& reader, const ClipConfig& config)
    : q_proj(reader / "q_proj", config.hidden_size, config.hidden_size),
      k_proj(reader / "k_proj", config.hidden_size, config.hidden_size),
      v_proj(reader / "v_proj", config.hidden_size, config.hidden_size),
      out_proj(reader / "out_proj", config.hidden_size, config.hidden_size),
      heads_(config.num_attention_heads) {}

at::Tensor ClipAttention::forward(const at::Tensor& x) const {
  // 77 positions: matrix products are the faster kernel on every device worth measuring, and exact.
  return out_proj.forward(Attention(q_proj.forward(x), k_proj.forward(x), v_proj.forward(x), heads_,
                                    AttentionKernel::kMatmul, /*causal=*/true));
}

ClipMlp::ClipMlp(const WeightReader& reader, const ClipConfig& config)
    : fc1(reader / "fc1", config.hidden_size, config.intermediate_size),
      fc2(reader / "fc2", config.intermediate_size, config.hidden_size),
      activation_(config.hidden_act) {}

at::Tensor ClipMlp::forward(const at::Tensor& x) const {
  const at::Tensor h = fc1.forward(x);
  return fc2.forward(activation_ == Activation::kGelu ? at::gelu(h) : h * at::sigmoid(1.702 * h));
}

ClipEncoderLayer::ClipEncoderLayer(const WeightReader& reader, const ClipConfig& config)
    : layer_norm1(reader / "layer_norm1", config.hidden_size, config.layer_norm_eps),
      self_attn(reader / "self_attn", config),
      layer_norm2(reader / "layer_norm2", config.hidden_size, config.layer_norm_eps),
      mlp(reader / "mlp", config) {}

at::Tensor ClipEncoderLayer::forward(const at::Tensor& x) const {
  const at::Tensor h = x + self_attn.forward(layer_norm1.forward(x));
  return h + mlp.forward(layer_norm2.forward(h));
}

ClipTextEncoder::ClipTextEncoder(const WeightReader& reader, const ClipConfig& config,
                                 HiddenStates hidden)
    : hidden_(hidden),
      token_embedding((TextModel(reader) / "embeddings" / "token_embedding")
                          .Get("weight", {config.vocab_size, config.hidden_size})),
      position_embedding((TextModel(reader) / "embeddings" / "position_embedding")
                             .Get("weight", {config.max_position_embeddings, config.hidden_size})),
      final_layer_norm(TextModel(reader) / "final_layer_norm", config.hidden_size,
                       config.layer_norm_eps) {
  const WeightReader list = TextModel(reader) / "encoder" / "layers";
  layers.reserve(config.num_hidden_layers);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.emplace_back(list / i, config);
  if (config.projection_dim != 0) {
    text_projection.emplace(reader / "text_projection", config.hidden_size, config.projection_dim,
                            /*bias=*/false);
  }
}

// Token embeddings with the learned rows in their places, [B, T, hidden_size].
at::Tensor ClipTextEncoder::Splice(const TextInput& input) const {
  const at::Tensor &input_ids = input.input_ids, &slots = input.slots, &rows = input.rows;
  TORCH_CHECK(input_ids.dim() == 2 && input_ids.sizes() == slots.sizes(),
              "input_ids and slots are [B, T]; got ", input_ids.sizes(), " and ", slots.sizes());
  const int64_t batch = input_ids.size(0), positions = input_ids.size(1),
                width = token_embedding.size(1);
  TORCH_CHECK(rows.dim() >= 2 && rows.dim() <= 3 && rows.size(-1) == width &&
                  (rows.dim() == 2 || rows.size(0) == batch),
              "rows are [K, ", width, "] or [", batch, ", K, ", width, "]; got ", rows.sizes());

  // Ids below a slot are ignored whatever they are, so the table is asked for entry 0 there.
  const at::Tensor flat_slots = slots.reshape({-1});
  const at::Tensor ordinary = flat_slots.lt(0);
  const at::Tensor ids =
      at::where(ordinary, input_ids.reshape({-1}), 0).to(token_embedding.device());
  at::Tensor x = at::index_select(token_embedding, 0, ids);

  // Learned rows go to their positions by index: backward then gathers exactly those gradients.
  const at::Tensor places = ordinary.logical_not().nonzero().squeeze(1);
  if (places.size(0) > 0) {
    const int64_t count = rows.size(-2);
    at::Tensor sources = at::index_select(flat_slots, 0, places);
    TORCH_CHECK(sources.max().item<int64_t>() < count, "a slot names row ",
                sources.max().item<int64_t>(), " of ", count);
    if (rows.dim() == 3)
      sources = sources + places.div(positions, "floor") * count;  // the sample's own copy
    const at::Tensor learned =
        at::index_select(rows.reshape({-1, width}), 0, sources.to(rows.device())).to(x.options());
    x = at::index_copy(x, 0, places.to(x.device()), learned);
  }
  return x.view({batch, positions, width});
}

TextFeatures ClipTextEncoder::forward(const TextInput& input, int64_t end_token) const {
  const int64_t all = input.input_ids.size(-1), positions = position_embedding.size(0);
  TORCH_CHECK(all <= positions || all % positions == 0, "a prompt of ", all,
              " positions; the encoder has ", positions, ", and chunks are that long");
  TORCH_CHECK(!input.weights.defined() || input.weights.sizes() == input.input_ids.sizes(),
              "weights are [B, T] as input_ids; got ", input.weights.sizes(), " and ",
              input.input_ids.sizes());
  if (all <= positions) return EncodeChunk(input, end_token, /*pool=*/true);
  TextFeatures features;
  std::vector<at::Tensor> hidden;
  for (int64_t first = 0; first < all; first += positions) {
    const auto part = [&](const at::Tensor& x) {
      return x.defined() ? x.narrow(1, first, positions) : x;
    };
    const TextFeatures chunk = EncodeChunk(
        {part(input.input_ids), part(input.slots), input.rows, part(input.weights)}, end_token,
        /*pool=*/first == 0);
    if (first == 0) features.pooled = chunk.pooled;
    hidden.push_back(chunk.hidden);
  }
  features.hidden = at::cat(hidden, 1);
  return features;
}

TextFeatures ClipTextEncoder::EncodeChunk(const TextInput& input, int64_t end_token,
                                          bool pool) const {
  pool = pool && text_projection.has_value();
  const auto weighed = [&](const at::Tensor& hidden) {
    return input.weights.defined() ? Weighed(hidden, input.weights.to(hidden.device())) : hidden;
  };
  at::Tensor x = Splice(input);
  x = x + position_embedding.narrow(0, 0, x.size(1));
  TextFeatures features;
  const bool penultimate = hidden_ == HiddenStates::kPenultimate;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (penultimate && i + 1 == layers.size()) {
      features.hidden = weighed(x);
      if (!pool) return features;  // nothing needs the last layer
    }
    x = layers[i].forward(x);
  }
  // The final norm looks at one position alone: only those that are used need it.
  if (pool) {
    const at::Tensor is_end = input.input_ids.eq(end_token).logical_and(input.slots.lt(0));
    TORCH_CHECK(is_end.any(1).all().item<bool>(),
                "a prompt without an end token has no pooled text");
    const at::Tensor ends = is_end.to(at::kByte).argmax(1).to(x.device());  // the first one
    const at::Tensor at_end = at::index_select(
        x.flatten(0, 1), 0, at::arange(x.size(0), ends.options()) * x.size(1) + ends);
    features.pooled = text_projection->forward(final_layer_norm.forward(at_end));
  }
  if (!penultimate) features.hidden = weighed(final_layer_norm.forward(x));
  return features;
}

at::Tensor ClipTextEncoder::Embed(const at::Tensor& ids) const {
  return at::index_select(token_embedding, 0, ids.to(token_embedding.device()));
}

}  // namespace neolog::diffusion
