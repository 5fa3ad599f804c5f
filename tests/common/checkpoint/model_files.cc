#include "tests/common/checkpoint/model_files.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

#include "common/checkpoint/shapes.h"
#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"
#include "common/tensor_file/zip.h"

namespace neolog::testing {
namespace {

namespace fs = std::filesystem;

TestTensor MakeTensor(const std::string& name, const std::vector<int64_t>& shape) {
  TestTensor tensor{shape, {}};
  const int64_t count =
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  uint64_t state = std::hash<std::string>()(name) | 1;
  // Multiples of 2^-10 below one: exact in float16, too.
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    tensor.values.push_back(static_cast<float>(static_cast<int64_t>(state >> 53) - 1024) / 1024);
  }
  return tensor;
}

TestTensors MakePart(const std::string& part, const Shapes& shapes) {
  TestTensors tensors;
  for (const auto& [key, shape] : shapes) tensors[key] = MakeTensor(part + "." + key, shape);
  return tensors;
}

// Walks a part and gives its tensors other names.
class Renamer {
 public:
  Renamer(const TestTensors& from, std::string prefix, TestTensors* to)
      : from_(from), prefix_(std::move(prefix)), to_(to) {}

  bool Has(const std::string& key) const { return from_.count(key + ".weight") != 0; }
  bool HasBelow(const std::string& prefix) const {
    const auto it = from_.lower_bound(prefix);
    return it != from_.end() && it->first.starts_with(prefix);
  }

  // A layer's weight and, where there is one, bias.
  void Layer(const std::string& from, const std::string& to) {
    Put(to + ".weight", from_.at(from + ".weight"));
    if (const auto bias = from_.find(from + ".bias"); bias != from_.end())
      Put(to + ".bias", bias->second);
  }
  // The same of a linear layer that was a 1x1 convolution.
  void AsConvolution(const std::string& from, const std::string& to) {
    TestTensor weight = from_.at(from + ".weight");
    weight.shape.insert(weight.shape.end(), {1, 1});
    Put(to + ".weight", weight);
    Put(to + ".bias", from_.at(from + ".bias"));
  }
  // Everything below, under its own name.
  void Below(const std::string& from, const std::string& to) {
    for (auto it = from_.lower_bound(from); it != from_.end() && it->first.starts_with(from); ++it)
      Put(to + it->first.substr(from.size()), it->second);
  }
  void Put(const std::string& key, const TestTensor& tensor) {
    ASSERT_TRUE(to_->emplace(prefix_ + key, tensor).second) << key;
  }
  const TestTensor& At(const std::string& key) const { return from_.at(key); }

 private:
  const TestTensors& from_;
  std::string prefix_;
  TestTensors* to_;
};

void UNetResnet(Renamer& r, const std::string& from, const std::string& to) {
  r.Layer(from + ".norm1", to + ".in_layers.0");
  r.Layer(from + ".conv1", to + ".in_layers.2");
  r.Layer(from + ".time_emb_proj", to + ".emb_layers.1");
  r.Layer(from + ".norm2", to + ".out_layers.0");
  r.Layer(from + ".conv2", to + ".out_layers.3");
  if (r.Has(from + ".conv_shortcut")) r.Layer(from + ".conv_shortcut", to + ".skip_connection");
}

// In the order in which the original UNet makes its blocks.
void OriginalUNet(const TestTensors& unet, TestTensors* out) {
  Renamer r(unet, "model.diffusion_model.", out);
  r.Layer("time_embedding.linear_1", "time_embed.0");
  r.Layer("time_embedding.linear_2", "time_embed.2");
  if (r.Has("add_embedding.linear_1")) {
    r.Layer("add_embedding.linear_1", "label_emb.0.0");
    r.Layer("add_embedding.linear_2", "label_emb.0.2");
  }
  int n = 0;
  r.Layer("conv_in", fmt::format("input_blocks.{}.0", n++));
  for (int level = 0; r.HasBelow(fmt::format("down_blocks.{}.", level)); ++level) {
    const std::string block = fmt::format("down_blocks.{}", level);
    for (int i = 0; r.HasBelow(fmt::format("{}.resnets.{}.", block, i)); ++i, ++n) {
      UNetResnet(r, fmt::format("{}.resnets.{}", block, i), fmt::format("input_blocks.{}.0", n));
      r.Below(fmt::format("{}.attentions.{}.", block, i), fmt::format("input_blocks.{}.1.", n));
    }
    if (r.Has(block + ".downsamplers.0.conv"))
      r.Layer(block + ".downsamplers.0.conv", fmt::format("input_blocks.{}.0.op", n++));
  }
  UNetResnet(r, "mid_block.resnets.0", "middle_block.0");
  r.Below("mid_block.attentions.0.", "middle_block.1.");
  UNetResnet(r, "mid_block.resnets.1", "middle_block.2");
  n = 0;
  for (int level = 0; r.HasBelow(fmt::format("up_blocks.{}.", level)); ++level) {
    const std::string block = fmt::format("up_blocks.{}", level);
    for (int i = 0; r.HasBelow(fmt::format("{}.resnets.{}.", block, i)); ++i, ++n) {
      int inside = 0;
      UNetResnet(r, fmt::format("{}.resnets.{}", block, i),
                 fmt::format("output_blocks.{}.{}", n, inside++));
      const std::string attention = fmt::format("{}.attentions.{}.", block, i);
      if (r.HasBelow(attention))
        r.Below(attention, fmt::format("output_blocks.{}.{}.", n, inside++));
      const bool last = !r.HasBelow(fmt::format("{}.resnets.{}.", block, i + 1));
      if (last && r.Has(block + ".upsamplers.0.conv")) {
        r.Layer(block + ".upsamplers.0.conv", fmt::format("output_blocks.{}.{}.conv", n, inside));
      }
    }
  }
  r.Layer("conv_norm_out", "out.0");
  r.Layer("conv_out", "out.2");
}

void VaeResnet(Renamer& r, const std::string& from, const std::string& to) {
  for (const char* name : {".norm1", ".conv1", ".norm2", ".conv2"}) r.Layer(from + name, to + name);
  if (r.Has(from + ".conv_shortcut")) r.Layer(from + ".conv_shortcut", to + ".nin_shortcut");
}

void OriginalVae(const TestTensors& vae, TestTensors* out) {
  Renamer r(vae, "first_stage_model.", out);
  r.Layer("quant_conv", "quant_conv");
  r.Layer("post_quant_conv", "post_quant_conv");
  for (const std::string half : {"encoder", "decoder"}) {
    r.Layer(half + ".conv_in", half + ".conv_in");
    r.Layer(half + ".conv_norm_out", half + ".norm_out");
    r.Layer(half + ".conv_out", half + ".conv_out");
    const std::string attention = half + ".mid_block.attentions.0.", old = half + ".mid.attn_1.";
    r.Layer(attention + "group_norm", old + "norm");
    r.AsConvolution(attention + "to_q", old + "q");
    r.AsConvolution(attention + "to_k", old + "k");
    r.AsConvolution(attention + "to_v", old + "v");
    r.AsConvolution(attention + "to_out.0", old + "proj_out");
    VaeResnet(r, half + ".mid_block.resnets.0", half + ".mid.block_1");
    VaeResnet(r, half + ".mid_block.resnets.1", half + ".mid.block_2");
  }
  int levels = 0;
  while (r.HasBelow(fmt::format("encoder.down_blocks.{}.", levels))) ++levels;
  for (int level = 0; level < levels; ++level) {
    const std::string down = fmt::format("encoder.down_blocks.{}", level);
    // The decoder's levels have the encoder's numbers, and run from the last to the first.
    const std::string up = fmt::format("decoder.up_blocks.{}", levels - 1 - level);
    for (int i = 0; r.HasBelow(fmt::format("{}.resnets.{}.", down, i)); ++i) {
      VaeResnet(r, fmt::format("{}.resnets.{}", down, i),
                fmt::format("encoder.down.{}.block.{}", level, i));
    }
    for (int i = 0; r.HasBelow(fmt::format("{}.resnets.{}.", up, i)); ++i) {
      VaeResnet(r, fmt::format("{}.resnets.{}", up, i),
                fmt::format("decoder.up.{}.block.{}", level, i));
    }
    if (r.Has(down + ".downsamplers.0.conv")) {
      r.Layer(down + ".downsamplers.0.conv", fmt::format("encoder.down.{}.downsample.conv", level));
    }
    if (r.Has(up + ".upsamplers.0.conv"))
      r.Layer(up + ".upsamplers.0.conv", fmt::format("decoder.up.{}.upsample.conv", level));
  }
}

TestTensor Stacked(const std::vector<const TestTensor*>& parts) {
  TestTensor all = *parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    all.shape[0] += parts[i]->shape[0];
    all.values.insert(all.values.end(), parts[i]->values.begin(), parts[i]->values.end());
  }
  return all;
}

TestTensor Transposed(const TestTensor& tensor) {
  const int64_t rows = tensor.shape[0], columns = tensor.shape[1];
  TestTensor result{{columns, rows}, std::vector<float>(tensor.values.size())};
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j)
      result.values[j * rows + i] = tensor.values[i * columns + j];
  }
  return result;
}

TestTensor NaNs(std::vector<int64_t> shape) {
  TestTensor tensor = MakeTensor("", shape);
  for (float& value : tensor.values) value = std::numeric_limits<float>::quiet_NaN();
  return tensor;
}

void OpenClip(const TestTensors& text, const std::string& prefix, bool sd2, TestTensors* out) {
  Renamer r(text, prefix, out);
  r.Put("positional_embedding", r.At("text_model.embeddings.position_embedding.weight"));
  r.Layer("text_model.embeddings.token_embedding", "token_embedding");
  r.Layer("text_model.final_layer_norm", "ln_final");
  const int64_t width = r.At("text_model.final_layer_norm.weight").shape[0];
  r.Put("text_projection", sd2 ? NaNs({width, width}) : Transposed(r.At("text_projection.weight")));
  r.Put("logit_scale", TestTensor{{}, {4.6f}});
  int n = 0;
  for (; r.HasBelow(fmt::format("text_model.encoder.layers.{}.", n)); ++n) {
    const std::string from = fmt::format("text_model.encoder.layers.{}.", n);
    const std::string to = fmt::format("transformer.resblocks.{}.", n);
    r.Layer(from + "layer_norm1", to + "ln_1");
    r.Layer(from + "layer_norm2", to + "ln_2");
    r.Layer(from + "mlp.fc1", to + "mlp.c_fc");
    r.Layer(from + "mlp.fc2", to + "mlp.c_proj");
    r.Layer(from + "self_attn.out_proj", to + "attn.out_proj");
    for (const std::string kind : {"weight", "bias"}) {
      const auto one = [&](const char* name) {
        return &r.At(from + "self_attn." + name + "." + kind);
      };
      r.Put(to + "attn.in_proj_" + kind, Stacked({one("q_proj"), one("k_proj"), one("v_proj")}));
    }
  }
  if (!sd2) return;
  const std::string last = fmt::format("transformer.resblocks.{}.", n - 1);
  TestTensors unused;
  for (const auto& [key, tensor] : *out) {
    if (key.starts_with(prefix + last))
      unused[fmt::format("transformer.resblocks.{}.{}", n, key.substr((prefix + last).size()))] =
          NaNs(tensor.shape);
  }
  for (const auto& [key, tensor] : unused) r.Put(key, tensor);
}

// The opcodes of a pickle (protocol 2) that torch.save needs.
class PickleWriter {
 public:
  std::string bytes = "\x80\x02";
  void Op(char op) { bytes += op; }
  void Text(std::string_view text) {
    Op('X');
    Raw(static_cast<uint32_t>(text.size()));
    bytes += text;
  }
  void Int(int64_t value) {
    Op('J');
    Raw(static_cast<int32_t>(value));
  }
  void Global(std::string_view module, std::string_view name) {
    bytes += fmt::format("c{}\n{}\n", module, name);
  }
  void Tuple(const std::vector<int64_t>& values) {
    Op('(');
    for (const int64_t value : values) Int(value);
    Op('t');
  }
  template <typename T>
  void Raw(const T& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
};

// A float tensor over all of storage `key`.
void AddTensor(PickleWriter& w, const TestTensor& tensor, const std::string& key, bool legacy) {
  w.Global("torch._utils", "_rebuild_tensor_v2");
  w.Op('(');
  w.Op('(');
  w.Text("storage");
  w.Global("torch", "FloatStorage");
  w.Text(key);
  w.Text("cpu");
  w.Int(static_cast<int64_t>(tensor.values.size()));
  if (legacy) w.Op('N');
  w.Op('t');
  w.Op('Q');
  w.Int(0);
  w.Tuple(tensor.shape);
  std::vector<int64_t> strides(tensor.shape.size(), 1);
  for (size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * tensor.shape[i];
  w.Tuple(strides);
  w.Op('\x89');
  w.Global("collections", "OrderedDict");
  w.Op(')');
  w.Op('R');
  w.Op('t');
  w.Op('R');
}

std::string_view BytesOf(const TestTensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.values.data()),
          tensor.values.size() * sizeof(float)};
}

}  // namespace

ClipConfig NarrowClip(ModelFamily family, size_t encoder) {
  ClipConfig c;
  c.vocab_size = 40;
  c.hidden_size = encoder == 1 ? 128 : 64;
  c.intermediate_size = 2 * c.hidden_size;
  c.num_hidden_layers = family == ModelFamily::kSd1 ? 2 : 3;
  c.num_attention_heads = c.hidden_size / 64;
  c.max_position_embeddings = 77;
  c.hidden_act =
      family == ModelFamily::kSd2 || encoder == 1 ? Activation::kGelu : Activation::kQuickGelu;
  c.bos_token_id = 38;
  c.eos_token_id = 39;
  c.projection_dim = encoder == 1 ? 128 : 0;
  return c;
}

UNetConfig NarrowUNet(ModelFamily family) {
  UNetConfig c;
  c.layers_per_block = {2, 2, 2};
  c.block_out_channels = {64, 64, 128};
  c.cross_attention_dim = 64;
  c.transformer_layers_per_block = {1, 1, 1};
  c.down_cross_attention = {true, true, false};
  c.up_cross_attention = {false, true, true};
  c.num_attention_heads = {8, 8, 8};
  c.sample_size = 64;
  if (family == ModelFamily::kSd1) return c;
  c.use_linear_projection = true;
  c.num_attention_heads = {1, 1, 2};
  c.sample_size = 96;
  if (family == ModelFamily::kSd2) return c;
  c.down_cross_attention = {false, true, true};
  c.up_cross_attention = {true, true, false};
  c.transformer_layers_per_block = {1, 1, 2};
  c.cross_attention_dim = 192;
  c.addition_time_embed_dim = 32;
  c.projection_class_embeddings_input_dim = 128 + 6 * 32;
  c.sample_size = 128;
  return c;
}

VaeConfig NarrowVae(ModelFamily family) {
  VaeConfig c;
  c.block_out_channels = {32, 32, 64, 64};
  c.layers_per_block = 1;
  c.scaling_factor = family == ModelFamily::kSdxl ? 0.13025 : 0.18215;
  return c;
}

TestModel NarrowModel(ModelFamily family) {
  TestModel model;
  model["text_encoder"] = MakePart("text_encoder", ClipShapes(NarrowClip(family, 0)));
  if (family == ModelFamily::kSdxl)
    model["text_encoder_2"] = MakePart("text_encoder_2", ClipShapes(NarrowClip(family, 1)));
  model["unet"] = MakePart("unet", UNetShapes(NarrowUNet(family)));
  model["vae"] = MakePart("vae", VaeShapes(NarrowVae(family)));
  return model;
}

TestModel NarrowModelOfClipsTokens() {
  TestModel model = NarrowModel(ModelFamily::kSd1);
  TestTensor& table = model["text_encoder"]["text_model.embeddings.token_embedding.weight"];
  table.shape[0] = 49408;
  table.values.resize(static_cast<size_t>(49408 * table.shape[1]));
  return model;
}

void WriteNarrowFolder(ModelFamily family, const TestModel& model, const std::string& folder) {
  const bool xl = family == ModelFamily::kSdxl;
  const auto file = [&](const char* name) { return (fs::path(folder) / name).string(); };
  WriteTextFile(file("model_index.json"),
                fmt::format(R"({{"_class_name": "StableDiffusion{}Pipeline"}})", xl ? "XL" : ""));
  for (size_t i = 0; i < (xl ? 2 : 1); ++i) {
    const ClipConfig c = NarrowClip(family, i);
    const std::string part = i == 0 ? "text_encoder" : "text_encoder_2";
    WriteTextFile(
        file((part + "/config.json").c_str()),
        fmt::format(R"({{"model_type": "clip_text_model", "architectures": ["{}"],
          "vocab_size": {}, "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {},
          "num_attention_heads": {}, "max_position_embeddings": 77, "hidden_act": "{}",
          "bos_token_id": {}, "eos_token_id": {}, "projection_dim": {}}})",
                    i == 1 ? "CLIPTextModelWithProjection" : "CLIPTextModel", c.vocab_size,
                    c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads,
                    c.hidden_act == Activation::kGelu ? "gelu" : "quick_gelu", c.bos_token_id,
                    c.eos_token_id, c.hidden_size));
    WriteTensors(model.at(part), file((part + "/model.safetensors").c_str()));
  }
  const UNetConfig u = NarrowUNet(family);
  const char* blocks = xl ? R"("down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D",
      "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
      "UpBlock2D"], "transformer_layers_per_block": [1, 1, 2], "addition_embed_type": "text_time",
      "addition_time_embed_dim": 32, "projection_class_embeddings_input_dim": 320)"
                          : R"("down_block_types": ["CrossAttnDownBlock2D",
      "CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D",
      "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"])";
  WriteTextFile(
      file("unet/config.json"),
      fmt::format(R"({{"_class_name": "UNet2DConditionModel", "block_out_channels": [64, 64, 128],
        "layers_per_block": 2, "attention_head_dim": {}, "cross_attention_dim": {},
        "use_linear_projection": {}, "sample_size": {}, {}}})",
                  family == ModelFamily::kSd1 ? "8" : "[1, 1, 2]", u.cross_attention_dim,
                  u.use_linear_projection, u.sample_size, blocks));
  WriteTensors(model.at("unet"), file("unet/diffusion_pytorch_model.safetensors"));
  WriteTextFile(file("vae/config.json"),
                fmt::format(R"({{"_class_name": "AutoencoderKL", "block_out_channels":
        [32, 32, 64, 64], "layers_per_block": 1, "scaling_factor": {}}})",
                            NarrowVae(family).scaling_factor));
  WriteTensors(model.at("vae"), file("vae/diffusion_pytorch_model.safetensors"));
  WriteTextFile(file("scheduler/scheduler_config.json"),
                fmt::format(R"({{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule":
        "scaled_linear", "prediction_type": "{}"}})",
                            family == ModelFamily::kSd2 ? "v_prediction" : "epsilon"));
}

TestModel ReadModel(const std::string& folder) {
  TestModel model;
  for (const std::string part : {"text_encoder", "text_encoder_2", "unet", "vae"}) {
    const fs::path path =
        fs::path(folder) / part /
        (part.starts_with("text") ? "model.safetensors" : "diffusion_pytorch_model.safetensors");
    if (!fs::exists(path)) continue;
    const auto file = SafetensorsFile::Open(path.string());
    EXPECT_TRUE(file.ok()) << file.status();
    if (!file.ok()) continue;
    for (const auto& [key, view] : (*file)->tensors())
      model[part][key] = {view.shape, ToFloat32(view).value_or(std::vector<float>())};
  }
  return model;
}

TestTensors OriginalLayout(ModelFamily family, const TestModel& model) {
  TestTensors tensors;
  OriginalUNet(model.at("unet"), &tensors);
  OriginalVae(model.at("vae"), &tensors);
  if (family == ModelFamily::kSd2) {
    OpenClip(model.at("text_encoder"), "cond_stage_model.model.", true, &tensors);
  } else if (family == ModelFamily::kSd1) {
    Renamer(model.at("text_encoder"), "cond_stage_model.transformer.", &tensors).Below("", "");
  } else {
    Renamer(model.at("text_encoder"), "conditioner.embedders.0.transformer.", &tensors)
        .Below("", "");
    OpenClip(model.at("text_encoder_2"), "conditioner.embedders.1.model.", false, &tensors);
  }
  for (const char* name :
       {"alphas_cumprod", "betas", "sqrt_alphas_cumprod", "model_ema.num_updates"})
    tensors[name] = TestTensor{{1}, {0.5f}};
  tensors["model_ema.diffusion_modelout2bias"] = TestTensor{{4}, {1, 2, 3, 4}};
  return tensors;
}

void WriteTensors(const TestTensors& tensors, const std::string& path, TensorType type,
                  const std::map<std::string, std::string>& metadata) {
  std::map<std::string, TensorView> views;
  std::map<std::string, std::vector<uint16_t>> halves;
  for (const auto& [key, tensor] : tensors) {
    auto bytes = std::as_bytes(std::span(tensor.values));
    if (type == TensorType::kFloat16) {
      std::vector<uint16_t>& half = halves[key];
      for (const float value : tensor.values) half.push_back(FloatToHalf(value));
      bytes = std::as_bytes(std::span<const uint16_t>(half));
    }
    views[key] = {type, tensor.shape, bytes};
  }
  const auto bytes = SerializeSafetensors(views, metadata);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  WriteTextFile(path, *bytes);
}

void WriteTorchFile(const TestTensors& tensors, const std::string& path, bool legacy) {
  PickleWriter w;
  w.Op('}');
  w.Op('(');
  w.Text("state_dict");
  w.Op('}');
  w.Op('(');
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : tensors) {
    w.Text(key);
    keys.push_back(std::to_string(keys.size()));
    AddTensor(w, tensor, keys.back(), legacy);
  }
  w.Op('u');
  w.Text("global_step");
  w.Int(7);
  w.Op('u');
  w.Op('.');
  if (!legacy) {
    StoredZipWriter zip;
    zip.Add("archive/data.pkl", w.bytes);
    size_t i = 0;
    for (const auto& [key, tensor] : tensors) zip.Add("archive/data/" + keys[i++], BytesOf(tensor));
    zip.Add("archive/version", "3\n");
    return WriteTextFile(path, zip.Finish());
  }
  PickleWriter list;
  list.Op(']');
  list.Op('(');
  for (const std::string& key : keys) list.Text(key);
  list.Op('e');
  list.Op('.');
  // torch's magic number, its protocol version 1001 and what it says of the machine.
  std::string bytes("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  bytes +=
      std::string("\x80\x02M\xe9\x03.", 6) + std::string("\x80\x02}.", 4) + w.bytes + list.bytes;
  for (const auto& [key, tensor] : tensors) {
    const auto count = static_cast<int64_t>(tensor.values.size());
    bytes.append(reinterpret_cast<const char*>(&count), sizeof(count));
    bytes += BytesOf(tensor);
  }
  WriteTextFile(path, bytes);
}

void WriteTextFile(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out << text;
  ASSERT_TRUE(out.flush().good()) << path;
}

}  // namespace neolog::testing
