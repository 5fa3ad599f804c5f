#include "tests/worker/diffusion/seeded_model.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "worker/diffusion/text_encoder.h"
#include "worker/diffusion/unet.h"
#include "worker/diffusion/vae.h"
#include "worker/torch_support/weights.h"

namespace neolog::testing {
namespace {

using torch_support::WeightMap;
using torch_support::WeightReader;
using Shapes = std::map<std::string, std::vector<int64_t>>;

uint64_t Fnv1a64(std::string_view text) {
  uint64_t h = 14695981039346656037u;
  for (const unsigned char c : text) h = (h ^ c) * 1099511628211u;
  return h;
}

uint64_t SplitMix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

int64_t Count(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// What a part reads from its weights: it is built over nothing, and asked.
template <typename Build>
Shapes ShapesOf(const Build& build) {
  const auto empty = WeightMap::Of({}, "nothing");
  build(WeightReader(*empty, at::kFloat, c10::DeviceType::CPU));
  return empty->asked();
}
Shapes ShapesOfTextEncoder(const ClipConfig& c) {
  // Over nothing, the encoder takes the keys to be without their usual prefix.
  Shapes shapes;
  for (const auto& [key, shape] : ShapesOf([&](const WeightReader& r) {
         diffusion::ClipTextEncoder(r, c, diffusion::HiddenStates::kFinal);
       })) {
    shapes[(key.starts_with("text_projection") ? "" : "text_model.") + key] = shape;
  }
  return shapes;
}
Shapes ShapesOfUNet(const UNetConfig& c) {
  return ShapesOf(
      [&](const WeightReader& r) { diffusion::UNet(r, c, diffusion::AttentionKernel::kMatmul); });
}
Shapes ShapesOfVae(const VaeConfig& c) {
  return ShapesOf([&](const WeightReader& r) { diffusion::Vae(r, c); });
}

Weights Seeded(const std::string& part, const Shapes& shapes, uint64_t seed) {
  Weights weights;
  for (const auto& [key, shape] : shapes) {
    at::Tensor tensor = at::empty(shape, at::kFloat);
    FillSeeded(part + "." + key, shape, seed,
               {tensor.mutable_data_ptr<float>(), static_cast<size_t>(tensor.numel())});
    weights[key] = tensor;
  }
  return weights;
}

void WritePart(const std::filesystem::path& file, const std::string& part, const Shapes& shapes,
               uint64_t seed) {
  std::filesystem::create_directories(file.parent_path());
  std::string header = "{";
  int64_t offset = 0;
  for (const auto& [key, shape] : shapes) {
    const int64_t size = 4 * Count(shape);
    header +=
        fmt::format("{}\"{}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                    offset == 0 ? "" : ",", key, fmt::join(shape, ","), offset, offset + size);
    offset += size;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::ofstream out(file, std::ios::binary);
  const uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), sizeof(length));
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  std::vector<float> values;
  for (const auto& [key, shape] : shapes) {
    values.resize(Count(shape));
    FillSeeded(part + "." + key, shape, seed, values);
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(4 * values.size()));
  }
  ASSERT_TRUE(out.good()) << file;
}

void WriteText(const std::filesystem::path& file, std::string_view text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream out(file);
  out << text;
  ASSERT_TRUE(out.good()) << file;
}

}  // namespace

void FillSeeded(std::string_view name, const std::vector<int64_t>& shape, uint64_t seed,
                std::span<float> values) {
  double scale = 0, offset = 0;
  if (EndsWith(name, ".bias")) {
    scale = 0.02;
  } else if (shape.size() == 1) {
    scale = 0.1;
    offset = 1;
  } else if (EndsWith(name, "token_embedding.weight")) {
    scale = shape[1] < 256 ? 0.4 : 0.05;
  } else if (EndsWith(name, "position_embedding.weight")) {
    scale = shape[1] < 256 ? 0.1 : 0.02;
  } else {
    double gain = 1;
    for (const char* end : {"conv2.weight", "to_out.0.weight", "out_proj.weight", "fc2.weight",
                            "ff.net.2.weight", "proj_out.weight"}) {
      if (EndsWith(name, end)) gain = 0.5;
    }
    scale = gain / std::sqrt(static_cast<double>(Count(shape)) / static_cast<double>(shape[0]));
  }
  const auto factor = static_cast<float>(scale * std::sqrt(3.0) / 8388608.0);
  const auto shift = static_cast<float>(offset);
  const uint64_t key = SplitMix64(seed ^ Fnv1a64(name));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto bits = static_cast<int32_t>(SplitMix64(key + i * 0x9E3779B97F4A7C15u) >> 40);
    values[i] = static_cast<float>(bits - 8388608) * factor + shift;
  }
}

Weights SeededTextEncoder(const ClipConfig& config, uint64_t seed) {
  return Seeded("text_encoder", ShapesOfTextEncoder(config), seed);
}
Weights SeededUNet(const UNetConfig& config, uint64_t seed) {
  return Seeded("unet", ShapesOfUNet(config), seed);
}
Weights SeededVae(const VaeConfig& config, uint64_t seed) {
  return Seeded("vae", ShapesOfVae(config), seed);
}

ClipConfig FullClipConfig() { return ClipConfig{.bos_token_id = 49406, .eos_token_id = 49407}; }

UNetConfig FullUNetConfig() {
  return {.down_cross_attention = {true, true, true, false},
          .up_cross_attention = {false, true, true, true},
          .block_out_channels = {320, 640, 1280, 1280},
          .layers_per_block = {2, 2, 2, 2},
          .transformer_layers_per_block = {1, 1, 1, 1},
          .num_attention_heads = {8, 8, 8, 8}};
}

VaeConfig FullVaeConfig() { return {.block_out_channels = {128, 256, 512, 512}}; }

void WriteFullWidthModel(const std::string& folder, uint64_t seed) {
  const std::filesystem::path root(folder);
  WritePart(root / "text_encoder/model.safetensors", "text_encoder",
            ShapesOfTextEncoder(FullClipConfig()), seed);
  WritePart(root / "unet/diffusion_pytorch_model.safetensors", "unet",
            ShapesOfUNet(FullUNetConfig()), seed);
  WritePart(root / "vae/diffusion_pytorch_model.safetensors", "vae", ShapesOfVae(FullVaeConfig()),
            seed);
  WriteText(root / "model_index.json", R"({"_class_name": "StableDiffusionPipeline"})");
  WriteText(
      root / "text_encoder/config.json",
      R"({"model_type": "clip_text_model", "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072,
                "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 77,
                "hidden_act": "quick_gelu", "bos_token_id": 49406, "eos_token_id": 49407})");
  WriteText(
      root / "unet/config.json",
      R"({"_class_name": "UNet2DConditionModel", "sample_size": 64, "cross_attention_dim": 768,
                "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2})");
  WriteText(
      root / "vae/config.json",
      R"({"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
                "latent_channels": 4, "scaling_factor": 0.18215, "sample_size": 512})");
  WriteText(root / "scheduler/scheduler_config.json",
            R"({"_class_name": "DDPMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "prediction_type": "epsilon"})");
}

void WriteSeededModel(const std::string& configs, const std::string& folder) {
  namespace fs = std::filesystem;
  fs::create_directories(folder);
  fs::copy(configs, folder, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  const auto text = [&](const std::string& file) {
    std::ifstream in(fs::path(configs) / file);
    return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  };
  const uint64_t seed = nlohmann::json::parse(text("seed.json")).at("seed").get<uint64_t>();
  const fs::path root(folder);
  for (const std::string part : {"text_encoder", "text_encoder_2"}) {
    if (!fs::exists(root / part)) continue;
    const auto config = ParseClipConfig(text(part + "/config.json"), part);
    ASSERT_TRUE(config.ok()) << config.status();
    WritePart(root / part / "model.safetensors", part, ShapesOfTextEncoder(*config), seed);
  }
  const auto unet = ParseUNetConfig(text("unet/config.json"), "unet");
  ASSERT_TRUE(unet.ok()) << unet.status();
  const auto vae = ParseVaeConfig(text("vae/config.json"), "vae");
  ASSERT_TRUE(vae.ok()) << vae.status();
  WritePart(root / "unet/diffusion_pytorch_model.safetensors", "unet", ShapesOfUNet(*unet), seed);
  WritePart(root / "vae/diffusion_pytorch_model.safetensors", "vae", ShapesOfVae(*vae), seed);
}

ClipConfig SmallClipConfig() {
  return {.vocab_size = 20,
          .hidden_size = 16,
          .intermediate_size = 32,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .max_position_embeddings = 9,
          .bos_token_id = 18,
          .eos_token_id = 19};
}

UNetConfig SmallUNetConfig() {
  return {.sample_size = 8,
          .down_cross_attention = {true, false, true},
          .up_cross_attention = {true, false, true},
          .block_out_channels = {8, 16, 24},
          .layers_per_block = {1, 2, 1},
          .transformer_layers_per_block = {1, 1, 2},
          .num_attention_heads = {2, 2, 3},
          .cross_attention_dim = 16,
          .norm_num_groups = 4};
}

VaeConfig SmallVaeConfig() {
  return {.block_out_channels = {8, 8, 16}, .layers_per_block = 1, .norm_num_groups = 4};
}

at::Tensor Normal(const std::vector<int64_t>& shape, uint64_t seed) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  auto* values = tensor.mutable_data_ptr<float>();
  const uint64_t key = SplitMix64(seed + 1);
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const auto uniform = [&](int64_t j) {
      return (static_cast<double>(SplitMix64(key + j * 0x9E3779B97F4A7C15u) >> 11) + 0.5) /
             9007199254740992.0;
    };
    values[i] = static_cast<float>(std::sqrt(-2 * std::log(uniform(2 * i))) *
                                   std::cos(2 * M_PI * uniform(2 * i + 1)));
  }
  return tensor;
}

}  // namespace neolog::testing
