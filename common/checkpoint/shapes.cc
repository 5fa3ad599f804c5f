#include "common/checkpoint/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace neolog {
namespace {

// No model comes near: SDXL has 3 levels of 2 layers, 10 deep.
constexpr int64_t kMostLevels = 8;
constexpr int64_t kMostLayers = 16;
constexpr int64_t kMostDepth = 32;
constexpr int64_t kMostTextLayers = 64;

// Adds layers below a prefix.
class Adder {
 public:
  explicit Adder(Shapes* shapes, std::string prefix = "")
      : shapes_(shapes), prefix_(std::move(prefix)) {}

  Adder operator/(std::string_view child) const {
    return Adder(shapes_, fmt::format("{}{}.", prefix_, child));
  }
  Adder operator/(size_t index) const { return *this / std::to_string(index); }

  void Linear(std::string_view name, int64_t in, int64_t out, bool bias = true) const {
    Add(name, {out, in}, bias);
  }
  void Conv(std::string_view name, int64_t in, int64_t out, int64_t kernel) const {
    Add(name, {out, in, kernel, kernel}, true);
  }
  void Norm(std::string_view name, int64_t width) const { Add(name, {width}, true); }
  void Table(std::string_view name, int64_t rows, int64_t width) const {
    Add(name, {rows, width}, false);
  }

 private:
  void Add(std::string_view name, std::vector<int64_t> shape, bool bias) const {
    if (bias) (*shapes_)[fmt::format("{}{}.bias", prefix_, name)] = {shape[0]};
    (*shapes_)[fmt::format("{}{}.weight", prefix_, name)] = std::move(shape);
  }

  Shapes* shapes_;
  std::string prefix_;
};

// `temb` is the width of the time embedding, 0 for none.
void Resnet(const Adder& at, int64_t in, int64_t out, int64_t temb) {
  at.Norm("norm1", in);
  at.Conv("conv1", in, out, 3);
  at.Norm("norm2", out);
  at.Conv("conv2", out, out, 3);
  if (temb > 0) at.Linear("time_emb_proj", temb, out);
  if (in != out) at.Conv("conv_shortcut", in, out, 1);
}

void Transformer(const Adder& at, int64_t width, int64_t context, int64_t layers, bool linear) {
  at.Norm("norm", width);
  for (const char* name : {"proj_in", "proj_out"}) {
    if (linear) at.Linear(name, width, width);
    if (!linear) at.Conv(name, width, width, 1);
  }
  for (int64_t i = 0; i < layers; ++i) {
    const Adder block = at / "transformer_blocks" / static_cast<size_t>(i);
    for (const char* name : {"norm1", "norm2", "norm3"}) block.Norm(name, width);
    for (const auto& [name, from] : {std::pair("attn1", width), std::pair("attn2", context)}) {
      const Adder attention = block / name;
      attention.Linear("to_q", width, width, /*bias=*/false);
      attention.Linear("to_k", from, width, /*bias=*/false);
      attention.Linear("to_v", from, width, /*bias=*/false);
      attention.Linear("to_out.0", width, width);
    }
    block.Linear("ff.net.0.proj", width, 8 * width);
    block.Linear("ff.net.2", 4 * width, width);
  }
}

void VaeMiddle(const Adder& at, int64_t width, bool attention) {
  for (size_t i = 0; i < 2; ++i) Resnet(at / "resnets" / i, width, width, 0);
  if (!attention) return;
  const Adder one = at / "attentions" / size_t{0};
  one.Norm("group_norm", width);
  for (const char* name : {"to_q", "to_k", "to_v", "to_out.0"}) one.Linear(name, width, width);
}

// What weights say about sizes.
class Asker {
 public:
  Asker(const WeightTable& weights, std::string name) : weights_(weights), name_(std::move(name)) {}

  bool Has(const std::string& key) const { return weights_.count(key) != 0; }

  // Size `dimension` of a weight; 1 and an error when it has none.
  int64_t Size(const std::string& key, size_t dimension) {
    const auto it = weights_.find(key);
    const std::vector<int64_t> shape =
        it == weights_.end() ? std::vector<int64_t>() : it->second.Shape();
    if (dimension < shape.size() && shape[dimension] > 0 && shape[dimension] <= kMaxSize)
      return shape[dimension];
    if (error_.ok()) {
      error_ =
          InvalidArgument(it == weights_.end()
                              ? fmt::format("{}: '{}' is missing", name_, key)
                              : fmt::format("{}: '{}' has no size between 1 and {} in dimension {}",
                                            name_, key, kMaxSize, dimension));
    }
    return 1;
  }

  // One more than the largest number that follows `prefix`; more than `most` is an error: a few
  // keys with large numbers must not make a model of millions of weights.
  int64_t Count(const std::string& prefix, int64_t most) {
    int64_t count = 0;
    for (auto it = weights_.lower_bound(prefix);
         it != weights_.end() && it->first.starts_with(prefix); ++it) {
      int64_t number = 0;
      const char* begin = it->first.data() + prefix.size();
      const auto [end, error] = std::from_chars(begin, it->first.data() + it->first.size(), number);
      if (error != std::errc()) continue;
      Require(number < most, fmt::format("'{}' follows '{}', where no model has more than {}",
                                         number, prefix, most));
      if (number < most) count = std::max(count, number + 1);
    }
    return count;
  }

  void Require(bool condition, const std::string& message) {
    if (!condition && error_.ok()) error_ = InvalidArgument(fmt::format("{}: {}", name_, message));
  }
  const absl::Status& error() const { return error_; }

 private:
  static constexpr int64_t kMaxSize = 1 << 24;

  const WeightTable& weights_;
  std::string name_;
  absl::Status error_;
};

void RequireGroups(Asker* ask, const std::vector<int64_t>& channels, int64_t groups) {
  for (const int64_t width : channels) {
    ask->Require(width % groups == 0,
                 fmt::format("{} channels cannot be normalised in {} groups, as every published "
                             "model does",
                             width, groups));
  }
}

}  // namespace

Shapes ClipShapes(const ClipConfig& c) {
  Shapes shapes;
  const Adder model = Adder(&shapes) / "text_model";
  model.Table("embeddings.token_embedding", c.vocab_size, c.hidden_size);
  model.Table("embeddings.position_embedding", c.max_position_embeddings, c.hidden_size);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const Adder layer = model / "encoder.layers" / static_cast<size_t>(i);
    layer.Norm("layer_norm1", c.hidden_size);
    layer.Norm("layer_norm2", c.hidden_size);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"})
      (layer / "self_attn").Linear(name, c.hidden_size, c.hidden_size);
    layer.Linear("mlp.fc1", c.hidden_size, c.intermediate_size);
    layer.Linear("mlp.fc2", c.intermediate_size, c.hidden_size);
  }
  model.Norm("final_layer_norm", c.hidden_size);
  if (c.projection_dim > 0)
    Adder(&shapes).Linear("text_projection", c.hidden_size, c.projection_dim, /*bias=*/false);
  return shapes;
}

Shapes UNetShapes(const UNetConfig& c) {
  Shapes shapes;
  const Adder root(&shapes);
  const std::vector<int64_t>& widths = c.block_out_channels;
  const size_t levels = widths.size();
  const int64_t temb = 4 * widths[0];
  const auto transformer = [&](const Adder& at, size_t level) {
    Transformer(at, widths[level], c.cross_attention_dim, c.transformer_layers_per_block[level],
                c.use_linear_projection);
  };
  root.Conv("conv_in", c.in_channels, widths[0], 3);
  root.Linear("time_embedding.linear_1", widths[0], temb);
  root.Linear("time_embedding.linear_2", temb, temb);
  if (c.projection_class_embeddings_input_dim > 0) {
    root.Linear("add_embedding.linear_1", c.projection_class_embeddings_input_dim, temb);
    root.Linear("add_embedding.linear_2", temb, temb);
  }
  std::vector<int64_t> skips = {widths[0]};
  for (size_t level = 0; level < levels; ++level) {
    const Adder block = root / "down_blocks" / level;
    for (int64_t i = 0; i < c.layers_per_block[level]; ++i) {
      Resnet(block / "resnets" / static_cast<size_t>(i), skips.back(), widths[level], temb);
      if (c.down_cross_attention[level])
        transformer(block / "attentions" / static_cast<size_t>(i), level);
      skips.push_back(widths[level]);
    }
    if (level + 1 == levels) continue;
    block.Conv("downsamplers.0.conv", widths[level], widths[level], 3);
    skips.push_back(widths[level]);
  }
  const Adder middle = root / "mid_block";
  for (size_t i = 0; i < 2; ++i) Resnet(middle / "resnets" / i, widths.back(), widths.back(), temb);
  transformer(middle / "attentions" / size_t{0}, levels - 1);
  int64_t width = widths.back();
  for (size_t i = 0; i < levels; ++i) {
    const size_t level = levels - 1 - i;
    const Adder block = root / "up_blocks" / i;
    for (int64_t j = 0; j <= c.layers_per_block[level]; ++j) {
      // The last residual block of a level takes what the level above it (on the way down) gave.
      const int64_t skip =
          j < c.layers_per_block[level] ? widths[level] : widths[level > 0 ? level - 1 : 0];
      Resnet(block / "resnets" / static_cast<size_t>(j), width + skip, widths[level], temb);
      if (c.up_cross_attention[i])
        transformer(block / "attentions" / static_cast<size_t>(j), level);
      width = widths[level];
    }
    if (level > 0) block.Conv("upsamplers.0.conv", width, width, 3);
  }
  root.Norm("conv_norm_out", widths[0]);
  root.Conv("conv_out", widths[0], c.out_channels, 3);
  return shapes;
}

Shapes VaeShapes(const VaeConfig& c) {
  Shapes shapes;
  const Adder root(&shapes);
  const std::vector<int64_t>& widths = c.block_out_channels;
  const size_t levels = widths.size();
  const Adder encoder = root / "encoder", decoder = root / "decoder";
  encoder.Conv("conv_in", c.in_channels, widths[0], 3);
  int64_t width = widths[0];
  for (size_t level = 0; level < levels; ++level) {
    const Adder block = encoder / "down_blocks" / level;
    for (int64_t i = 0; i < c.layers_per_block; ++i) {
      Resnet(block / "resnets" / static_cast<size_t>(i), width, widths[level], 0);
      width = widths[level];
    }
    if (level + 1 < levels) block.Conv("downsamplers.0.conv", width, width, 3);
  }
  VaeMiddle(encoder / "mid_block", widths.back(), c.mid_block_add_attention);
  encoder.Norm("conv_norm_out", widths.back());
  encoder.Conv("conv_out", widths.back(), 2 * c.latent_channels, 3);
  if (c.use_quant_conv) root.Conv("quant_conv", 2 * c.latent_channels, 2 * c.latent_channels, 1);
  if (c.use_post_quant_conv) root.Conv("post_quant_conv", c.latent_channels, c.latent_channels, 1);

  decoder.Conv("conv_in", c.latent_channels, widths.back(), 3);
  VaeMiddle(decoder / "mid_block", widths.back(), c.mid_block_add_attention);
  width = widths.back();
  for (size_t i = 0; i < levels; ++i) {
    const Adder block = decoder / "up_blocks" / i;
    const int64_t out = widths[levels - 1 - i];
    for (int64_t j = 0; j <= c.layers_per_block; ++j) {
      Resnet(block / "resnets" / static_cast<size_t>(j), width, out, 0);
      width = out;
    }
    if (i + 1 < levels) block.Conv("upsamplers.0.conv", width, width, 3);
  }
  decoder.Norm("conv_norm_out", widths[0]);
  decoder.Conv("conv_out", widths[0], c.out_channels, 3);
  return shapes;
}

absl::StatusOr<ClipConfig> ClipFromWeights(const WeightTable& weights, const std::string& name) {
  Asker ask(weights, name);
  ClipConfig c;
  const std::string model = "text_model.";
  c.vocab_size = ask.Size(model + "embeddings.token_embedding.weight", 0);
  c.hidden_size = ask.Size(model + "embeddings.token_embedding.weight", 1);
  c.max_position_embeddings = ask.Size(model + "embeddings.position_embedding.weight", 0);
  c.intermediate_size = ask.Size(model + "encoder.layers.0.mlp.fc1.weight", 0);
  c.num_hidden_layers = ask.Count(model + "encoder.layers.", kMostTextLayers);
  constexpr int64_t kHeadSize = 64;  // of every CLIP text encoder in use
  ask.Require(
      c.hidden_size % kHeadSize == 0,
      fmt::format("the width {} is no multiple of CLIP's head size {}", c.hidden_size, kHeadSize));
  ask.Require(c.vocab_size >= 2, "the token table has no room for a start and an end token");
  c.num_attention_heads = c.hidden_size / kHeadSize;
  c.bos_token_id = c.vocab_size - 2;
  c.eos_token_id = c.vocab_size - 1;
  if (ask.Has("text_projection.weight")) c.projection_dim = ask.Size("text_projection.weight", 0);
  RETURN_IF_ERROR(ask.error());
  return c;
}

absl::StatusOr<UNetConfig> UNetFromWeights(const WeightTable& weights, const std::string& name) {
  Asker ask(weights, name);
  UNetConfig c;
  c.in_channels = ask.Size("conv_in.weight", 1);
  c.out_channels = ask.Size("conv_out.weight", 0);
  const std::string attn2 = ".transformer_blocks.0.attn2.to_k.weight";
  c.cross_attention_dim = ask.Size("mid_block.attentions.0" + attn2, 1);
  const int64_t levels = ask.Count("down_blocks.", kMostLevels);
  ask.Require(levels > 0, "there is no 'down_blocks.0.'");
  for (int64_t i = 0; i < levels; ++i) {
    const std::string down = fmt::format("down_blocks.{}.", i);
    c.block_out_channels.push_back(ask.Size(down + "resnets.0.conv1.weight", 0));
    c.layers_per_block.push_back(std::max<int64_t>(ask.Count(down + "resnets.", kMostLayers), 1));
    const int64_t depth = ask.Count(down + "attentions.0.transformer_blocks.", kMostDepth);
    c.down_cross_attention.push_back(depth > 0);
    c.up_cross_attention.push_back(
        ask.Count(fmt::format("up_blocks.{}.attentions.0.transformer_blocks.", i), kMostDepth) > 0);
    c.transformer_layers_per_block.push_back(std::max<int64_t>(depth, 1));
  }
  // The middle block has the last level's depth.
  if (levels > 0 && !c.down_cross_attention.back()) {
    c.transformer_layers_per_block.back() =
        std::max<int64_t>(ask.Count("mid_block.attentions.0.transformer_blocks.", kMostDepth), 1);
  }
  if (ask.Has("add_embedding.linear_1.weight"))
    c.projection_class_embeddings_input_dim = ask.Size("add_embedding.linear_1.weight", 1);
  RequireGroups(&ask, c.block_out_channels, c.norm_num_groups);
  RETURN_IF_ERROR(ask.error());
  return c;
}

absl::StatusOr<VaeConfig> VaeFromWeights(const WeightTable& weights, const std::string& name) {
  Asker ask(weights, name);
  VaeConfig c;
  c.in_channels = ask.Size("encoder.conv_in.weight", 1);
  c.out_channels = ask.Size("decoder.conv_out.weight", 0);
  c.latent_channels = ask.Size("decoder.conv_in.weight", 1);
  const int64_t levels = ask.Count("encoder.down_blocks.", kMostLevels);
  ask.Require(levels > 0, "there is no 'encoder.down_blocks.0.'");
  for (int64_t i = 0; i < levels; ++i) {
    c.block_out_channels.push_back(
        ask.Size(fmt::format("encoder.down_blocks.{}.resnets.0.conv1.weight", i), 0));
  }
  c.layers_per_block =
      std::max<int64_t>(ask.Count("encoder.down_blocks.0.resnets.", kMostLayers), 1);
  c.use_quant_conv = ask.Has("quant_conv.weight");
  c.use_post_quant_conv = ask.Has("post_quant_conv.weight");
  c.mid_block_add_attention = ask.Has("encoder.mid_block.attentions.0.to_q.weight");
  RequireGroups(&ask, c.block_out_channels, c.norm_num_groups);
  RETURN_IF_ERROR(ask.error());
  return c;
}

}  // namespace neolog
