#include "worker/diffusion/unet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <utility>

namespace neolog::diffusion {
namespace {

int64_t TimeWidth(const UNetConfig& config) { return 4 * config.block_out_channels[0]; }

ResnetBlock2D::Options ResnetOptions(const UNetConfig& config, int64_t in, int64_t out) {
  return {.in = in,
          .out = out,
          .groups = config.norm_num_groups,
          .eps = config.norm_eps,
          .temb = TimeWidth(config)};
}

// `level` counts blocks from the largest map down.
TransformerOptions AttentionOptions(const UNetConfig& config, size_t level,
                                    AttentionKernel kernel) {
  return {.channels = config.block_out_channels[level],
          .heads = config.num_attention_heads[level],
          .depth = config.transformer_layers_per_block[level],
          .context_width = config.cross_attention_dim,
          .groups = config.norm_num_groups,
          .use_linear_projection = config.use_linear_projection,
          .kernel = kernel};
}

}  // namespace

DownBlock::DownBlock(const WeightReader& reader, const UNetConfig& config, size_t index,
                     AttentionKernel kernel) {
  const int64_t out = config.block_out_channels[index];
  const int64_t in = index == 0 ? out : config.block_out_channels[index - 1];
  for (int64_t i = 0; i < config.layers_per_block[index]; ++i) {
    resnets.emplace_back(reader / "resnets" / i, ResnetOptions(config, i == 0 ? in : out, out));
    if (config.down_cross_attention[index]) {
      attentions.emplace_back(reader / "attentions" / i, AttentionOptions(config, index, kernel));
    }
  }
  if (index + 1 < config.block_out_channels.size()) {
    downsampler.emplace(reader / "downsamplers" / 0, out, config.downsample_padding);
  }
}

at::Tensor DownBlock::forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& text,
                              std::vector<at::Tensor>& skips) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = resnets[i].forward(x, temb);
    if (!attentions.empty()) x = attentions[i].forward(x, text);
    skips.push_back(x);
  }
  if (downsampler) {
    x = downsampler->forward(x);
    skips.push_back(x);
  }
  return x;
}

MidBlock::MidBlock(const WeightReader& reader, const UNetConfig& config, AttentionKernel kernel) {
  const size_t last = config.block_out_channels.size() - 1;
  const int64_t channels = config.block_out_channels[last];
  resnets.emplace_back(reader / "resnets" / 0, ResnetOptions(config, channels, channels));
  resnets.emplace_back(reader / "resnets" / 1, ResnetOptions(config, channels, channels));
  attentions.emplace_back(reader / "attentions" / 0, AttentionOptions(config, last, kernel));
}

at::Tensor MidBlock::forward(const at::Tensor& x, const at::Tensor& temb,
                             const at::Tensor& text) const {
  return resnets[1].forward(attentions[0].forward(resnets[0].forward(x, temb), text), temb);
}

UpBlock::UpBlock(const WeightReader& reader, const UNetConfig& config, size_t index,
                 AttentionKernel kernel) {
  // Block 0 is the lowest; it mirrors down block `level`.
  const size_t level = config.block_out_channels.size() - 1 - index;
  const int64_t out = config.block_out_channels[level];
  const int64_t previous = index == 0 ? out : config.block_out_channels[level + 1];
  const int64_t lowest_skip = config.block_out_channels[level == 0 ? 0 : level - 1];
  const int64_t count = config.layers_per_block[level] + 1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t skip = i == count - 1 ? lowest_skip : out;
    const int64_t in = i == 0 ? previous : out;
    resnets.emplace_back(reader / "resnets" / i, ResnetOptions(config, in + skip, out));
    if (config.up_cross_attention[index]) {
      attentions.emplace_back(reader / "attentions" / i, AttentionOptions(config, level, kernel));
    }
  }
  if (level > 0) upsampler.emplace(reader / "upsamplers" / 0, out);
}

at::Tensor UpBlock::forward(at::Tensor x, const at::Tensor& temb, const at::Tensor& text,
                            std::vector<at::Tensor>& skips) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = resnets[i].forward(at::cat({x, skips.back()}, 1), temb);
    skips.pop_back();
    if (!attentions.empty()) x = attentions[i].forward(x, text);
  }
  if (upsampler) x = upsampler->forward(x, skips.back().size(2), skips.back().size(3));
  return x;
}

UNet::UNet(const WeightReader& reader, const UNetConfig& config, AttentionKernel kernel)
    : config_(config),
      conv_in(reader / "conv_in", config.in_channels, config.block_out_channels[0], 3, 1, 1),
      time_embedding_linear_1(reader / "time_embedding" / "linear_1", config.block_out_channels[0],
                              TimeWidth(config)),
      time_embedding_linear_2(reader / "time_embedding" / "linear_2", TimeWidth(config),
                              TimeWidth(config)),
      mid_block(reader / "mid_block", config, kernel),
      conv_norm_out(reader / "conv_norm_out", config.norm_num_groups, config.block_out_channels[0],
                    config.norm_eps),
      conv_out(reader / "conv_out", config.block_out_channels[0], config.out_channels, 3, 1, 1) {
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    down_blocks.emplace_back(reader / "down_blocks" / static_cast<int64_t>(i), config, i, kernel);
    up_blocks.emplace_back(reader / "up_blocks" / static_cast<int64_t>(i), config, i, kernel);
  }
  if (config.addition_time_embed_dim != 0) {
    const WeightReader added = reader / "add_embedding";
    add_embedding_linear_1.emplace(added / "linear_1", config.projection_class_embeddings_input_dim,
                                   TimeWidth(config));
    add_embedding_linear_2.emplace(added / "linear_2", TimeWidth(config), TimeWidth(config));
  }
}

// [B, TimeWidth]: of the timestep, and of pooled text and sizes where the model knows them.
at::Tensor UNet::TimeEmbedding(const at::Tensor& timesteps, const Conditioning& text,
                               at::ScalarType type) const {
  const at::Tensor sinusoids = TimestepEmbedding(timesteps, config_.block_out_channels[0],
                                                 config_.flip_sin_to_cos, config_.freq_shift);
  const at::Tensor embedding = time_embedding_linear_2.forward(
      at::silu(time_embedding_linear_1.forward(sinusoids.to(type))));
  if (!add_embedding_linear_1) return embedding;
  TORCH_CHECK(text.pooled.defined() && text.time_ids.defined(),
              "this UNet needs pooled text and time_ids");
  const int64_t batch = timesteps.size(0);
  const at::Tensor sizes = TimestepEmbedding(text.time_ids.reshape({-1}).to(timesteps.device()),
                                             config_.addition_time_embed_dim,
                                             config_.flip_sin_to_cos, config_.freq_shift);
  const at::Tensor added = at::cat({text.pooled.to(type), sizes.reshape({batch, -1}).to(type)}, -1);
  return embedding +
         add_embedding_linear_2->forward(at::silu(add_embedding_linear_1->forward(added)));
}

at::Tensor UNet::forward(const at::Tensor& x, const at::Tensor& timesteps,
                         const Conditioning& text) const {
  // Every block would apply this activation first.
  const at::Tensor temb = at::silu(TimeEmbedding(timesteps, text, x.scalar_type()));

  at::Tensor h = conv_in.forward(x);
  std::vector<at::Tensor> skips{h};
  for (const DownBlock& block : down_blocks) h = block.forward(h, temb, text.hidden, skips);
  h = mid_block.forward(h, temb, text.hidden);
  for (const UpBlock& block : up_blocks) h = block.forward(std::move(h), temb, text.hidden, skips);
  return conv_out.forward(at::silu(conv_norm_out.forward(h)));
}

at::Tensor TimestepEmbedding(const at::Tensor& timesteps, int64_t width, bool flip_sin_to_cos,
                             double freq_shift) {
  const int64_t half = width / 2;
  at::Tensor exponent =
      at::arange(0, half, timesteps.options().dtype(at::kFloat)) * -std::log(10000.0);
  exponent = exponent / (static_cast<double>(half) - freq_shift);
  const at::Tensor angles = timesteps.to(at::kFloat).unsqueeze(1) * at::exp(exponent).unsqueeze(0);
  const at::Tensor sine = at::sin(angles), cosine = at::cos(angles);
  return flip_sin_to_cos ? at::cat({cosine, sine}, -1) : at::cat({sine, cosine}, -1);
}

}  // namespace neolog::diffusion
