#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "common/embedding/embedding.h"

// The names that embedding files give their tensors, all in one place.

namespace neolog {

/// Kohya's, invoke-training's and ai-toolkit's key for one text encoder.
inline constexpr std::string_view kKohyaKey = "emb_params";
/// OneTrainer's; it is spelled so there.
inline constexpr std::string_view kOneTrainerKey = "emp_params";
/// SDXL's two encoders, in the order of Embedding::blocks.
inline constexpr std::array<std::string_view, 2> kSdxlKeys = {"clip_l", "clip_g"};
/// The one entry that A1111 gives its dictionaries, and CLIP's id of it; readers ignore the id.
inline constexpr std::string_view kA1111Slot = "*";
inline constexpr int64_t kA1111SlotToken = 265;

/// The keys of an embedding's blocks in a format that names tensors (not A1111's dictionary).
std::vector<std::string> KeysFor(const Embedding& embedding, EmbeddingFormat format);

/// The format that a file with this one tensor is of, and whether the key is the word.
EmbeddingFormat FormatOfKey(std::string_view key);
bool KeyIsWord(std::string_view key);

/// A text out of a file as it may stand in a message or on a terminal: one line of valid UTF-8, at
/// most 100 bytes.
std::string Shown(std::string_view text);

/// What a file with these tensors is, when it is something known that is no embedding of one word
/// for CLIP's encoders ("it is a LoRA ..."); empty when nothing is known about them.
std::string KnownMisfit(const std::vector<std::string>& keys);

}  // namespace neolog
