#include "common/embedding/keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/text/unicode.h"

namespace neolog {
namespace {

/// One kind of file that is no embedding of ours and how its keys show it.
struct Misfit {
  enum class Match { kWhole, kStart, kWithin };
  Match match;
  std::string_view text;
  std::string_view what;
};

constexpr std::string_view kT5 =
    "an embedding for the T5 encoder of SD 3 or Flux; expected rows for CLIP's encoders";
constexpr std::string_view kXti =
    "a kohya XTI embedding with rows for each layer of the UNet (IN01 to OUT11); expected one set "
    "of rows";
constexpr std::string_view kOutput =
    "a OneTrainer file with output embeddings, which take the place of the encoder's output; "
    "expected rows for its input only";
constexpr std::string_view kLora = "a LoRA, which changes the model; expected an embedding";
constexpr std::string_view kCheckpoint =
    "the weights of a model, perhaps a whole checkpoint; expected an embedding";

using Match = Misfit::Match;
constexpr Misfit kMisfits[] = {
    {Match::kWithin, "lora_up", kLora},
    {Match::kWithin, "lora_down", kLora},
    {Match::kWithin, "lora.up", kLora},
    {Match::kWithin, "lora.down", kLora},
    {Match::kWithin, "lora_A", kLora},
    {Match::kWithin, "lora_B", kLora},
    {Match::kWithin, "lora_linear_layer", kLora},
    {Match::kStart, "lora_unet_", kLora},
    {Match::kStart, "lora_te_", kLora},
    {Match::kStart, "lora_te1_", kLora},
    {Match::kStart, "lora_te2_", kLora},
    {Match::kStart, "model.diffusion_model.", kCheckpoint},
    {Match::kStart, "cond_stage_model.", kCheckpoint},
    {Match::kStart, "conditioner.embedders.", kCheckpoint},
    {Match::kStart, "first_stage_model.", kCheckpoint},
    {Match::kStart, "text_model.", kCheckpoint},
    {Match::kStart, "down_blocks.", kCheckpoint},
    {Match::kStart, "up_blocks.", kCheckpoint},
    {Match::kStart, "decoder.", kCheckpoint},
    {Match::kStart, "encoder.", kCheckpoint},
    {Match::kWhole, "state_dict", kCheckpoint},
    {Match::kWhole, "t5", kT5},
    {Match::kWhole, "t5xxl", kT5},
    {Match::kWhole, "IN01", kXti},
    {Match::kWhole, "IN02", kXti},
    {Match::kWhole, "IN04", kXti},
    {Match::kWhole, "IN05", kXti},
    {Match::kWhole, "IN07", kXti},
    {Match::kWhole, "IN08", kXti},
    {Match::kWhole, "OUT03", kXti},
    {Match::kWhole, "OUT11", kXti},
    {Match::kWhole, "emp_params_out", kOutput},
    {Match::kWhole, "clip_l_out", kOutput},
    {Match::kWhole, "clip_g_out", kOutput},
    {Match::kWhole, "t5_out", kOutput},
};

bool Fits(const Misfit& misfit, std::string_view key) {
  switch (misfit.match) {
    case Match::kWhole: return key == misfit.text;
    case Match::kStart: return key.starts_with(misfit.text);
    case Match::kWithin: return key.find(misfit.text) != key.npos;
  }
  return false;
}

}  // namespace

std::vector<std::string> KeysFor(const Embedding& embedding, EmbeddingFormat format) {
  if (embedding.blocks.size() == 2) {
    return {std::string(kSdxlKeys[0]), std::string(kSdxlKeys[1])};
  }
  switch (format) {
    case EmbeddingFormat::kKohya: return {std::string(kKohyaKey)};
    case EmbeddingFormat::kOneTrainer: return {std::string(kOneTrainerKey)};
    default: return {embedding.name};
  }
}

EmbeddingFormat FormatOfKey(std::string_view key) {
  if (key == kKohyaKey) return EmbeddingFormat::kKohya;
  if (key == kOneTrainerKey) return EmbeddingFormat::kOneTrainer;
  if (key == kSdxlKeys[0] || key == kSdxlKeys[1]) return EmbeddingFormat::kSdxl;
  return EmbeddingFormat::kDiffusers;
}

bool KeyIsWord(std::string_view key) {
  return FormatOfKey(key) == EmbeddingFormat::kDiffusers && key != kA1111Slot;
}

std::string Shown(std::string_view text) {
  std::string shown = ReplaceInvalidUtf8(text.substr(0, 100));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return shown;
}

std::string KnownMisfit(const std::vector<std::string>& keys) {
  for (const Misfit& misfit : kMisfits) {
    // A file with one tensor may have any word for its key.
    if (keys.size() == 1 && misfit.match != Match::kWhole) continue;
    const auto found = std::find_if(keys.begin(), keys.end(),
                                    [&](const std::string& key) { return Fits(misfit, key); });
    if (found != keys.end()) {
      return fmt::format("it is {} (it holds '{}')", misfit.what, Shown(*found));
    }
  }
  return "";
}

}  // namespace neolog
