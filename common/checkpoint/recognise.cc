#include "common/checkpoint/recognise.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace neolog {
namespace {

bool AnyContains(const WeightTable& tensors, std::string_view part) {
  return std::any_of(tensors.begin(), tensors.end(), [&](const auto& entry) {
    return entry.first.find(part) != std::string::npos;
  });
}

bool AnyBegins(const WeightTable& tensors, std::string_view prefix) {
  const auto it = tensors.lower_bound(std::string(prefix));
  return it != tensors.end() && it->first.starts_with(prefix);
}

// Signs of other things, looked for in order: the first one found is what the file is.
struct Sign {
  enum class Where { kBegins, kContains };
  Where where;
  std::string_view text;
  std::string_view meaning;
};

constexpr std::string_view kLora = "a LoRA, which changes a model but is none; give the model";
constexpr std::string_view kControlNet =
    "a ControlNet, which steers a model but is none; give the model";
constexpr std::string_view kOtherModel =
    "a model of another kind; SD 1.x, SD 2.x and SDXL models can be taught words";

constexpr Sign kSigns[] = {
    {Sign::Where::kContains, ".lora_down.", kLora},
    {Sign::Where::kContains, ".lora_up.", kLora},
    {Sign::Where::kContains, ".lora_A.", kLora},
    {Sign::Where::kContains, ".lora.down.", kLora},
    {Sign::Where::kContains, "_lora.down.", kLora},
    {Sign::Where::kContains, ".hada_w1_a", kLora},
    {Sign::Where::kContains, ".lokr_w1", kLora},
    {Sign::Where::kBegins, "control_model.", kControlNet},
    {Sign::Where::kContains, "input_hint_block.", kControlNet},
    {Sign::Where::kBegins, "controlnet_cond_embedding.", kControlNet},
    {Sign::Where::kContains, "joint_blocks.",
     "an SD 3 model; SD 1.x, SD 2.x and SDXL models can be taught words"},
    {Sign::Where::kContains, "double_blocks.",
     "a Flux model; SD 1.x, SD 2.x and SDXL models can be taught words"},
    {Sign::Where::kContains, "motion_modules.",
     "a motion module (AnimateDiff); give an image model"},
    {Sign::Where::kContains, "temporal_transformer.",
     "a video model; SD 1.x, SD 2.x and SDXL models can be taught words"},
    {Sign::Where::kBegins, "image_proj.", "an IP-Adapter; give the model"},
    {Sign::Where::kBegins, "conditioner.embedders.0.model.",
     "an SDXL refiner, which has no first text encoder; give the base model"},
    {Sign::Where::kBegins, "edm_mean",
     "a Playground 2.5 model, whose noise schedule (EDM) is not supported; give an SDXL model"},
    {Sign::Where::kBegins, "string_to_param", "an embedding; give the model that it was made for"},
    {Sign::Where::kBegins, "emb_params", "an embedding; give the model that it was made for"},
    {Sign::Where::kBegins, "transformer_blocks.", kOtherModel},
    {Sign::Where::kContains, "single_transformer_blocks.", kOtherModel},
    {Sign::Where::kBegins, "text_encoders.", kOtherModel},
    {Sign::Where::kContains, "adaLN_modulation", kOtherModel},
};

// Few rows of a text encoder's width, and nothing else.
bool LooksLikeEmbedding(const WeightTable& tensors) {
  return !tensors.empty() && tensors.size() <= 4 &&
         std::all_of(tensors.begin(), tensors.end(), [](const auto& entry) {
           const auto& shape = entry.second.view.shape;
           return shape.size() <= 2 && (shape.size() < 2 || shape[0] <= 1024) && !shape.empty() &&
                  shape.back() >= 16 && shape.back() <= 4096;
         });
}

}  // namespace

std::optional<std::string> DescribeOther(const WeightTable& tensors) {
  if (tensors.empty()) return "a file without tensors; give a model";
  for (const Sign& sign : kSigns) {
    if (sign.where == Sign::Where::kBegins ? AnyBegins(tensors, sign.text)
                                           : AnyContains(tensors, sign.text)) {
      return std::string(sign.meaning);
    }
  }
  const bool unet = AnyBegins(tensors, "model.diffusion_model.");
  const bool bare_unet = AnyBegins(tensors, "input_blocks.") || AnyBegins(tensors, "down_blocks.");
  const bool text =
      AnyBegins(tensors, "cond_stage_model.") || AnyBegins(tensors, "conditioner.embedders.");
  if (unet && text) return std::nullopt;
  if (unet || bare_unet) {
    return "a UNet alone, without text encoder; give the whole model (a single file with all "
           "parts, "
           "or a diffusers folder)";
  }
  if (text && AnyBegins(tensors, "first_stage_model.")) {
    return "a model without UNet: no key begins with 'model.diffusion_model.'; give the whole "
           "model";
  }
  if (AnyBegins(tensors, "first_stage_model.") || AnyBegins(tensors, "decoder.") ||
      AnyBegins(tensors, "vae.")) {
    return "a VAE alone; give the model, and the VAE beside it";
  }
  if (text || AnyBegins(tensors, "text_model.") || AnyBegins(tensors, "transformer.text_model.") ||
      AnyBegins(tensors, "transformer.resblocks.")) {
    return "a text encoder alone; give the whole model (a single file with all parts, or a "
           "diffusers folder)";
  }
  if (LooksLikeEmbedding(tensors)) return "an embedding; give the model that it was made for";
  return fmt::format(
      "no Stable Diffusion model: none of its {} tensors (such as '{}') has a "
      "known name; give an SD 1.x, SD 2.x or SDXL model",
      tensors.size(), tensors.begin()->first);
}

std::string DescribeInputChannels(int64_t channels) {
  switch (channels) {
    case 9: return "an inpainting model (9 input channels)";
    case 8: return "an instruct-pix2pix model (8 input channels)";
    case 7: return "an upscaling model (7 input channels)";
    case 5: return "a depth model (5 input channels)";
    default: return fmt::format("a model with {} input channels", channels);
  }
}

}  // namespace neolog
