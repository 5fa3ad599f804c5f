#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/weights.h"

namespace neolog {

/// How the bytes under a key become a weight.
enum class Reading {
  kAsIs,
  kTransposed,  // the weight is the transpose of what is stored
  kFirstThird,  // the weight is one of three slices along the first dimension
  kSecondThird,
  kLastThird
};

struct KeyRule;
using KeyRules = std::vector<KeyRule>;

/// One line of a table that renames keys. `from` matches the beginning of a key when it is empty or
/// ends with a dot (what follows is kept, or renamed by the rules `inside`), and else a whole key.
/// `{word}` in it matches a number; in `to` it stands for
///   {level}, {place}, {n}  the number that was matched under this name,
/// or for what the position in the original layout means (KeyLayout):
///   {in}   counts a UNet's input blocks:  {level} and {place} follow from it;
///   {out}  counts its output blocks:      {level} and {place} follow;
///   {up}   counts a decoder's levels from the last to the first: {level} follows;
///   {mid}  counts from one:               {place} follows.
struct KeyRule {
  std::string_view from;
  std::string_view to;
  const KeyRules* inside = nullptr;
  Reading reading = Reading::kAsIs;
};

/// Sizes that give positions in the original layout their meaning.
struct KeyLayout {
  int64_t unet_layers = 2;  // residual blocks of one level on the way down
  int64_t vae_levels = 4;
};

/// What a key is called after renaming.
struct RenamedKey {
  std::string key;
  Reading reading = Reading::kAsIs;
};

/// The names that a key gets: those of the first rule that matches and of the rules directly below
/// it with the same left side. None when no rule matches.
std::vector<RenamedKey> Rename(const KeyRules& rules, const KeyLayout& layout,
                               std::string_view key);

/// Renames every weight whose key begins with `prefix` (and takes the prefix off). Keys that no
/// rule knows are added to `unexpected` as they are in the file. InvalidArgument when two keys of
/// the file become one, or a fused weight cannot be cut.
absl::StatusOr<WeightTable> RenameAll(const WeightTable& table, std::string_view prefix,
                                      const KeyRules& rules, const KeyLayout& layout,
                                      std::vector<std::string>* unexpected);

/// The layout of the original UNet keys (without prefix) and of the VAE's, from the keys alone.
KeyLayout LayoutOf(const WeightTable& table, std::string_view unet_prefix,
                   std::string_view vae_prefix);

// The tables.
const KeyRules& OriginalUNetRules();   // model.diffusion_model. of SD 1, SD 2 and SDXL
const KeyRules& OriginalVaeRules();    // first_stage_model.
const KeyRules& OpenClipRules();       // SD 2's text encoder, SDXL's second
const KeyRules& ClipRules();           // CLIP in transformers' names, old and new
const KeyRules& DiffusersVaeRules();   // a VAE in diffusers' names, old and new
const KeyRules& DiffusersUNetRules();  // a UNet in diffusers' names

}  // namespace neolog
