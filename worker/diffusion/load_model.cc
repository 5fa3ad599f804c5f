#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "common/checkpoint/config.h"
#include "worker/diffusion/model.h"
#include "worker/diffusion/noise_schedule.h"
#include "worker/diffusion/text_encoder.h"
#include "worker/diffusion/unet.h"
#include "worker/diffusion/vae.h"
#include "worker/torch_support/call.h"
#include "worker/torch_support/device.h"
#include "worker/torch_support/weights.h"

namespace neolog::diffusion {
namespace {

namespace fs = std::filesystem;
using torch_support::CallTorch;
using torch_support::WeightMap;

constexpr uintmax_t kMaxConfigBytes = 16 << 20;
constexpr int64_t kTimeIds = 6;  // sizes that SDXL is conditioned on

at::ScalarType TypeOf(Precision precision) {
  switch (precision) {
    case Precision::kFloat32: return at::kFloat;
    case Precision::kBFloat16: return at::kBFloat16;
    case Precision::kFloat16: return at::kHalf;
  }
  return at::kFloat;
}

absl::StatusOr<std::string> ReadText(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error)
    return NotFound(fmt::format("'{}' cannot be read: {}", path.string(), error.message()));
  if (size > kMaxConfigBytes)
    return InvalidArgument(fmt::format("'{}' has {} bytes: no configuration", path.string(), size));
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.good() && !in.eof()) return DataLoss(fmt::format("'{}' cannot be read", path.string()));
  return text;
}

// The weights file of one part: the plain name first, then the fp16 variant that diffusers writes.
absl::StatusOr<std::string> WeightsFile(const fs::path& folder, const std::string& stem) {
  std::error_code error;
  for (const char* ending : {".safetensors", ".fp16.safetensors"}) {
    const fs::path path = folder / (stem + ending);
    if (fs::is_regular_file(path, error)) return path.string();
  }
  const fs::path expected = folder / (stem + ".safetensors");
  if (fs::exists(folder / (stem + ".safetensors.index.json"), error)) {
    return NotFound(
        fmt::format("'{}' is missing: the weights are split into several files; save them in one "
                    "(save_pretrained(..., max_shard_size=\"20GB\"))",
                    expected.string()));
  }
  if (fs::exists(folder / (stem + ".bin"), error) ||
      fs::exists(folder / "pytorch_model.bin", error)) {
    return NotFound(
        fmt::format("'{}' is missing: the weights are a pickle (.bin); save them as safetensors "
                    "(save_pretrained(..., safe_serialization=True))",
                    expected.string()));
  }
  return NotFound(fmt::format("'{}' is missing", expected.string()));
}

// The tokenizer's own start and end tokens, which text_encoder/config.json of old checkpoints does
// not tell.
absl::Status ReadSpecialTokens(const fs::path& vocab, ModelInfo& info) {
  std::error_code error;
  if (!fs::exists(vocab, error)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, ReadText(vocab));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  for (auto [token, id] : {std::pair("<|startoftext|>", &info.start_token),
                           std::pair("<|endoftext|>", &info.end_token)}) {
    const auto it = json.is_object() ? json.find(token) : json.end();
    if (it == json.end() || !it->is_number_integer() || it->get<int64_t>() < 0 ||
        it->get<int64_t>() >= info.vocabulary) {
      return InvalidArgument(fmt::format("'{}': \"{}\" has no id below the vocabulary's {}",
                                         vocab.string(), token, info.vocabulary));
    }
    *id = it->get<int64_t>();
  }
  return absl::OkStatus();
}

// The UNet takes what the text encoders give.
absl::Status CheckConditioning(const UNetConfig& unet, const std::vector<ClipConfig>& clips,
                               const std::string& name) {
  int64_t hidden = 0;
  for (const ClipConfig& clip : clips) hidden += clip.hidden_size;
  if (unet.cross_attention_dim != hidden) {
    return InvalidArgument(
        fmt::format("'{}': 'cross_attention_dim' is {}, but the text encoder's 'hidden_size' is {}",
                    name, unet.cross_attention_dim, hidden));
  }
  for (const ClipConfig& clip : clips) {
    if (clip.vocab_size != clips[0].vocab_size ||
        clip.max_position_embeddings != clips[0].max_position_embeddings) {
      return InvalidArgument(fmt::format(
          "'{}': the two text encoders differ in vocabulary or positions ({} and {}, {} "
          "and {})",
          name, clips[0].vocab_size, clip.vocab_size, clips[0].max_position_embeddings,
          clip.max_position_embeddings));
    }
  }
  const int64_t sizes = kTimeIds * unet.addition_time_embed_dim;
  const int64_t pooled = clips.size() > 1 ? clips.back().projection_dim : 0;
  if (clips.size() > 1 && pooled == 0) {
    return InvalidArgument(
        fmt::format("'{}': the second text encoder has no pooled output; expected a "
                    "CLIPTextModelWithProjection",
                    name));
  }
  if (unet.projection_class_embeddings_input_dim != (pooled == 0 ? 0 : pooled + sizes)) {
    return InvalidArgument(fmt::format(
        "'{}': 'projection_class_embeddings_input_dim' is {}, but the text encoders and "
        "{} sizes of width {} give {}{}",
        name, unet.projection_class_embeddings_input_dim, kTimeIds, unet.addition_time_embed_dim,
        pooled == 0 ? 0 : pooled + sizes, pooled == 0 ? " (SDXL's refiner is not supported)" : ""));
  }
  return absl::OkStatus();
}

struct Parts {
  ModelInfo info;
  std::vector<ClipTextEncoder> text_encoders;
  std::optional<UNet> unet;
  std::optional<Vae> vae;
  at::ScalarType compute = at::kFloat, vae_type = at::kFloat;
  c10::Device device = c10::Device(c10::DeviceType::CPU);
  at::Tensor alphas_cumprod;
};

class FolderModel : public Model {
 public:
  explicit FolderModel(Parts parts) : parts_(std::move(parts)) {}

  const ModelInfo& info() const override { return parts_.info; }

  at::Tensor TokenEmbeddings(size_t encoder, const std::vector<int64_t>& ids) const override {
    return parts_.text_encoders.at(encoder)
        .Embed(at::tensor(at::ArrayRef<int64_t>(ids), at::kLong))
        .cpu();
  }

  Conditioning EncodeText(at::ArrayRef<TextInput> inputs) const override {
    TORCH_CHECK(inputs.size() == parts_.text_encoders.size(), "the model has ",
                parts_.text_encoders.size(), " text encoders; got input for ", inputs.size());
    Conditioning result;
    std::vector<at::Tensor> hidden;
    for (size_t i = 0; i < inputs.size(); ++i) {
      TextFeatures features = parts_.text_encoders[i].forward(inputs[i], parts_.info.end_token);
      hidden.push_back(features.hidden.to(parts_.compute));
      if (features.pooled.defined()) result.pooled = features.pooled.to(parts_.compute);
    }
    result.hidden = hidden.size() == 1 ? hidden[0] : at::cat(hidden, -1);
    return result;
  }

  at::Tensor PredictNoise(const at::Tensor& latents, const at::Tensor& timesteps,
                          const Conditioning& text) const override {
    return parts_.unet->forward(In(latents, parts_.compute), timesteps.to(parts_.device), text)
        .to(at::kFloat);
  }

  std::pair<at::Tensor, at::Tensor> EncodeImage(const at::Tensor& pixels) const override {
    const at::NoGradGuard no_grad;
    const auto moments = parts_.vae->encode(In(pixels, parts_.vae_type)).to(at::kFloat).chunk(2, 1);
    return {moments[0].contiguous(), moments[1].clamp(-30, 20)};
  }

  at::Tensor DecodeLatents(const at::Tensor& latents) const override {
    const at::NoGradGuard no_grad;
    return parts_.vae->decode(In(latents / parts_.info.scaling_factor, parts_.vae_type))
        .to(at::kFloat);
  }

  const at::Tensor& AlphasCumprod() const override { return parts_.alphas_cumprod; }

 private:
  at::Tensor In(const at::Tensor& x, at::ScalarType type) const {
    return x.to(x.options().dtype(type).device(parts_.device));
  }

  Parts parts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path,
                                                 const ModelOptions& options) {
  const fs::path root(path);
  std::error_code error;
  if (!fs::exists(root, error)) return NotFound(fmt::format("model '{}' does not exist", path));
  if (!fs::is_directory(root, error)) {
    return InvalidArgument(
        fmt::format("model '{}' is a file; a diffusers folder is expected (with unet/, vae/, "
                    "text_encoder/, tokenizer/ and scheduler/)",
                    path));
  }

  Parts parts;
  ASSIGN_OR_RETURN(parts.device, torch_support::SelectDevice(options.device));
  parts.compute = TypeOf(options.precision);
  // SD's autoencoder can leave fp16's range; it runs once a picture.
  parts.vae_type = options.precision == Precision::kFloat16 ? at::kFloat : parts.compute;

  const auto config_text = [&](const char* file) { return ReadText(root / file); };
  const auto name = [&](const char* file) { return (root / file).string(); };
  ASSIGN_OR_RETURN(std::string text, config_text("model_index.json"));
  const auto index = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!index.is_object())
    return InvalidArgument(fmt::format("'{}': it is not a JSON object", name("model_index.json")));
  const std::string pipeline = index.contains("_class_name") && index["_class_name"].is_string()
                                   ? index["_class_name"].get<std::string>()
                                   : std::string("none");
  const bool xl = pipeline.rfind("StableDiffusionXL", 0) == 0;
  if (pipeline.rfind("StableDiffusion", 0) != 0 || pipeline.rfind("StableDiffusion3", 0) == 0) {
    return InvalidArgument(fmt::format(
        "'{}': '_class_name' is {}; supported: StableDiffusionPipeline (SD 1.x and 2.x) and "
        "StableDiffusionXLPipeline",
        name("model_index.json"), pipeline));
  }
  std::vector<std::string> encoders = {"text_encoder"};
  if (xl) encoders.push_back("text_encoder_2");
  std::vector<ClipConfig> clips;
  for (const std::string& encoder : encoders) {
    const std::string file = encoder + "/config.json";
    ASSIGN_OR_RETURN(text, config_text(file.c_str()));
    ASSIGN_OR_RETURN(ClipConfig clip, ParseClipConfig(text, name(file.c_str())));
    // The pooled output of SDXL is the second encoder's; whoever else has one does not use it.
    if (encoder == "text_encoder") clip.projection_dim = 0;
    clips.push_back(clip);
  }
  ASSIGN_OR_RETURN(text, config_text("unet/config.json"));
  ASSIGN_OR_RETURN(const UNetConfig unet, ParseUNetConfig(text, name("unet/config.json")));
  ASSIGN_OR_RETURN(text, config_text("vae/config.json"));
  ASSIGN_OR_RETURN(const VaeConfig vae, ParseVaeConfig(text, name("vae/config.json")));
  ASSIGN_OR_RETURN(text, config_text("scheduler/scheduler_config.json"));
  ASSIGN_OR_RETURN(const SchedulerConfig scheduler,
                   ParseSchedulerConfig(text, name("scheduler/scheduler_config.json")));
  RETURN_IF_ERROR(CheckConditioning(unet, clips, name("unet/config.json")));
  if (unet.in_channels != vae.latent_channels || unet.out_channels != vae.latent_channels) {
    return InvalidArgument(fmt::format(
        "'{}': 'in_channels' is {} and 'out_channels' is {}, but the VAE has {} 'latent_channels' "
        "(inpainting and "
        "upscaling models are not supported)",
        name("unet/config.json"), unet.in_channels, unet.out_channels, vae.latent_channels));
  }

  for (const ClipConfig& clip : clips) parts.info.text_widths.push_back(clip.hidden_size);
  parts.info.text_positions = clips[0].max_position_embeddings;
  parts.info.vocabulary = clips[0].vocab_size;
  parts.info.start_token = clips[0].bos_token_id;
  parts.info.end_token = clips[0].eos_token_id;
  parts.info.size_conditioning = xl;
  parts.info.pooled_width = clips.back().projection_dim;
  RETURN_IF_ERROR(ReadSpecialTokens(root / "tokenizer" / "vocab.json", parts.info));
  parts.info.latent_channels = vae.latent_channels;
  parts.info.latent_factor = vae.Factor();
  parts.info.sample_size = unet.sample_size;
  parts.info.scaling_factor = vae.scaling_factor;
  parts.info.prediction =
      scheduler.v_prediction ? PredictionType::kVPrediction : PredictionType::kEpsilon;
  parts.info.noise_schedule = scheduler.noise_schedule;

  // All files are looked for before any is read: what is missing is said at once.
  std::vector<std::string> clip_files;
  for (const std::string& encoder : encoders) {
    ASSIGN_OR_RETURN(clip_files.emplace_back(), WeightsFile(root / encoder, "model"));
  }
  ASSIGN_OR_RETURN(const std::string unet_file,
                   WeightsFile(root / "unet", "diffusion_pytorch_model"));
  ASSIGN_OR_RETURN(const std::string vae_file,
                   WeightsFile(root / "vae", "diffusion_pytorch_model"));

  RETURN_IF_ERROR(CallTorch(fmt::format("loading model '{}'", path), [&]() -> absl::Status {
    const at::NoGradGuard no_grad;
    // Text encoders stay in fp32: the rows are learned through them, and they are 1.5 % of a step.
    for (size_t i = 0; i < clips.size(); ++i) {
      ASSIGN_OR_RETURN(const auto weights, WeightMap::Open(clip_files[i]));
      parts.text_encoders.emplace_back(WeightReader(*weights, at::kFloat, parts.device), clips[i],
                                       xl ? HiddenStates::kPenultimate : HiddenStates::kFinal);
      RETURN_IF_ERROR(weights->Finish({"embeddings.position_ids", "text_projection.weight"}));
    }

    ASSIGN_OR_RETURN(const auto unet_weights, WeightMap::Open(unet_file));
    parts.unet.emplace(WeightReader(*unet_weights, parts.compute, parts.device), unet,
                       options.attention);
    RETURN_IF_ERROR(unet_weights->Finish({}));

    ASSIGN_OR_RETURN(const auto vae_weights, WeightMap::Open(vae_file));
    parts.vae.emplace(WeightReader(*vae_weights, parts.vae_type, parts.device), vae);
    RETURN_IF_ERROR(vae_weights->Finish({}));

    parts.alphas_cumprod = AlphasCumprodAsReference(scheduler.noise_schedule).to(parts.device);
    return absl::OkStatus();
  }));
  std::unique_ptr<Model> model = std::make_unique<FolderModel>(std::move(parts));
  return model;
}

}  // namespace neolog::diffusion
