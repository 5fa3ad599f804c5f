#include "worker/diffusion/vae.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>

namespace neolog::diffusion {
namespace {

constexpr double kEps = 1e-6;

ResnetBlock2D::Options ResnetOptions(const VaeConfig& config, int64_t in, int64_t out) {
  return {.in = in, .out = out, .groups = config.norm_num_groups, .eps = kEps};
}

WeightReader Renamed(const WeightReader& reader, const char* name, const char* old_name) {
  return reader.weights().HasPrefix(reader.Key(std::string(old_name) + ".")) ? reader / old_name
                                                                             : reader / name;
}

}  // namespace

VaeAttention::VaeAttention(const WeightReader& reader, int64_t channels, int64_t groups)
    : group_norm(reader / "group_norm", groups, channels, kEps),
      to_q(Renamed(reader, "to_q", "query"), channels, channels),
      to_k(Renamed(reader, "to_k", "key"), channels, channels),
      to_v(Renamed(reader, "to_v", "value"), channels, channels),
      to_out(Renamed(reader, "to_out.0", "proj_attn"), channels, channels) {}

at::Tensor VaeAttention::forward(const at::Tensor& x) const {
  const int64_t n = x.size(0), c = x.size(1);
  const at::Tensor h = group_norm.forward(x).view({n, c, -1}).transpose(1, 2);
  // One head over every position of the map: without a gradient the fused kernel is never slower.
  const at::Tensor out = to_out.forward(Attention(to_q.forward(h), to_k.forward(h), to_v.forward(h),
                                                  /*heads=*/1, AttentionKernel::kFlash));
  return x + out.transpose(1, 2).reshape(x.sizes());
}

VaeMidBlock::VaeMidBlock(const WeightReader& reader, const VaeConfig& config) {
  const int64_t channels = config.block_out_channels.back();
  resnets.emplace_back(reader / "resnets" / 0, ResnetOptions(config, channels, channels));
  resnets.emplace_back(reader / "resnets" / 1, ResnetOptions(config, channels, channels));
  if (config.mid_block_add_attention)
    attention.emplace(reader / "attentions" / 0, channels, config.norm_num_groups);
}

at::Tensor VaeMidBlock::forward(const at::Tensor& x) const {
  at::Tensor h = resnets[0].forward(x);
  if (attention) h = attention->forward(h);
  return resnets[1].forward(h);
}

Vae::Encoder::Encoder(const WeightReader& reader, const VaeConfig& config)
    : conv_in(reader / "conv_in", config.in_channels, config.block_out_channels[0], 3, 1, 1),
      mid_block(reader / "mid_block", config),
      conv_norm_out(reader / "conv_norm_out", config.norm_num_groups,
                    config.block_out_channels.back(), kEps),
      conv_out(reader / "conv_out", config.block_out_channels.back(), 2 * config.latent_channels, 3,
               1, 1) {
  int64_t in = config.block_out_channels[0];
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    const WeightReader block = reader / "down_blocks" / static_cast<int64_t>(i);
    const int64_t out = config.block_out_channels[i];
    Level level;
    for (int64_t j = 0; j < config.layers_per_block; ++j) {
      level.resnets.emplace_back(block / "resnets" / j,
                                 ResnetOptions(config, j == 0 ? in : out, out));
    }
    if (i + 1 < config.block_out_channels.size())
      level.downsampler.emplace(block / "downsamplers" / 0, out, 0);
    down_blocks.push_back(std::move(level));
    in = out;
  }
}

Vae::Decoder::Decoder(const WeightReader& reader, const VaeConfig& config)
    : conv_in(reader / "conv_in", config.latent_channels, config.block_out_channels.back(), 3, 1,
              1),
      mid_block(reader / "mid_block", config),
      conv_norm_out(reader / "conv_norm_out", config.norm_num_groups, config.block_out_channels[0],
                    kEps),
      conv_out(reader / "conv_out", config.block_out_channels[0], config.out_channels, 3, 1, 1) {
  const size_t blocks = config.block_out_channels.size();
  int64_t in = config.block_out_channels.back();
  for (size_t i = 0; i < blocks; ++i) {
    const WeightReader block = reader / "up_blocks" / static_cast<int64_t>(i);
    const int64_t out = config.block_out_channels[blocks - 1 - i];
    Level level;
    for (int64_t j = 0; j < config.layers_per_block + 1; ++j) {
      level.resnets.emplace_back(block / "resnets" / j,
                                 ResnetOptions(config, j == 0 ? in : out, out));
    }
    if (i + 1 < blocks) level.upsampler.emplace(block / "upsamplers" / 0, out);
    up_blocks.push_back(std::move(level));
    in = out;
  }
}

Vae::Vae(const WeightReader& reader, const VaeConfig& config)
    : encoder(reader / "encoder", config), decoder(reader / "decoder", config) {
  const int64_t c = config.latent_channels;
  if (config.use_quant_conv) quant_conv.emplace(reader / "quant_conv", 2 * c, 2 * c, 1);
  if (config.use_post_quant_conv) post_quant_conv.emplace(reader / "post_quant_conv", c, c, 1);
}

at::Tensor Vae::encode(const at::Tensor& pixels) const {
  at::Tensor h = encoder.conv_in.forward(pixels);
  for (const Level& level : encoder.down_blocks) {
    for (const ResnetBlock2D& resnet : level.resnets) h = resnet.forward(h);
    if (level.downsampler) h = level.downsampler->forward(h);
  }
  h = encoder.mid_block.forward(h);
  h = encoder.conv_out.forward(at::silu(encoder.conv_norm_out.forward(h)));
  return quant_conv ? quant_conv->forward(h) : h;
}

at::Tensor Vae::decode(const at::Tensor& latents) const {
  at::Tensor h =
      decoder.conv_in.forward(post_quant_conv ? post_quant_conv->forward(latents) : latents);
  h = decoder.mid_block.forward(h);
  for (const Level& level : decoder.up_blocks) {
    for (const ResnetBlock2D& resnet : level.resnets) h = resnet.forward(h);
    if (level.upsampler) h = level.upsampler->forward(h);
  }
  return decoder.conv_out.forward(at::silu(decoder.conv_norm_out.forward(h)));
}

}  // namespace neolog::diffusion
