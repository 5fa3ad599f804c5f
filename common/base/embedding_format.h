#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace neolog {

/// The embedding files that Neolog knows, shared by those who name them (common/storage), those who
/// accept them in a run (coordinator/core) and those who make their bytes (common/embedding).
enum class EmbeddingFormat {
  kA1111,       ///< torch file with the dictionary of AUTOMATIC1111's web UI
  kPng,         ///< the same dictionary in a picture's text and pixels
  kOriginal,    ///< torch file of the original textual-inversion code; read, never written
  kDiffusers,   ///< one tensor under the word
  kKohya,       ///< one tensor `emb_params`
  kSdxl,        ///< `clip_l` and `clip_g`: rows for two text encoders
  kOneTrainer,  ///< one tensor `emp_params`; for two text encoders the same as kSdxl
};

/// What is fixed about a format.
struct EmbeddingFormatFacts {
  EmbeddingFormat format;
  /// As in `checkpoint.formats` and on the command line.
  std::string_view name;
  /// Of files that a run writes.
  std::string_view extension;
  /// How many text encoders' rows it can hold.
  int min_encoders;
  int max_encoders;
};

inline constexpr std::array<EmbeddingFormatFacts, 7> kEmbeddingFormats = {{
    {EmbeddingFormat::kA1111, "a1111", ".pt", 1, 1},
    {EmbeddingFormat::kPng, "png", ".png", 1, 1},
    {EmbeddingFormat::kOriginal, "original", ".pt", 1, 1},
    {EmbeddingFormat::kDiffusers, "diffusers", ".safetensors", 1, 1},
    {EmbeddingFormat::kKohya, "kohya", ".safetensors", 1, 1},
    {EmbeddingFormat::kSdxl, "sdxl", ".safetensors", 2, 2},
    {EmbeddingFormat::kOneTrainer, "onetrainer", ".safetensors", 1, 2},
}};

constexpr const EmbeddingFormatFacts& FactsOf(EmbeddingFormat format) {
  return kEmbeddingFormats[static_cast<size_t>(format)];
}

/// The format of that name, or null.
constexpr const EmbeddingFormatFacts* FindEmbeddingFormat(std::string_view name) {
  for (const EmbeddingFormatFacts& facts : kEmbeddingFormats) {
    if (facts.name == name) return &facts;
  }
  return nullptr;
}

/// ".pt", ".safetensors" or ".png": the extension of a run's file in this format.
constexpr std::string_view Extension(EmbeddingFormat format) { return FactsOf(format).extension; }

/// Why a format cannot hold the rows of that many text encoders and what to use instead; empty when
/// it can.
std::string FormatProblem(EmbeddingFormat format, size_t encoders);

}  // namespace neolog
