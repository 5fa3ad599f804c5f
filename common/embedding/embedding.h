#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/embedding_format.h"
#include "common/base/status.h"

namespace neolog {

/// A learned word as embedding files hold it.
struct Embedding {
  /// The word.
  std::string name;
  /// Optimiser steps it was trained for; 0 where a file does not say.
  int64_t step = 0;
  /// N and D.
  int64_t vectors = 0;
  int64_t width = 0;
  /// [N, D] row-major.
  std::vector<float> values;
  /// The model it was trained on, where a file says so: A1111's short hash (10 hex digits) and
  /// name.
  std::optional<std::string> checkpoint_hash;
  std::optional<std::string> checkpoint_name;
};

/// "a1111" or "diffusers", as in a run's settings. InvalidArgument names both.
absl::StatusOr<EmbeddingFormat> ParseEmbeddingFormat(std::string_view name);
/// ".pt" or ".safetensors".
std::string_view FileExtension(EmbeddingFormat format);

/// The file's bytes; the same embedding gives the same bytes. InvalidArgument when the values are
/// not N x D finite numbers or the name is empty or not UTF-8.
absl::StatusOr<std::string> WriteEmbedding(const Embedding& embedding, EmbeddingFormat format);

/// Reads an embedding of one text encoder; the contents decide the format, not the file's name:
/// - safetensors with one floating-point tensor [N, D] or [D], whatever its key (diffusers, kohya
/// and invoke-training's
///   emb_params, OneTrainer's emp_params);
/// - torch files (.pt, .bin) with A1111's or the original textual-inversion dictionary with one
/// entry, or with one tensor
///   under the word (diffusers). Pickles are parsed, never executed.
/// float16, bfloat16, float32 and float64 become float32. `file_name` stands in messages, and its
/// stem is the name where the file holds none. At most 1,000 vectors of width 16,384.
/// InvalidArgument for what is readable but is not one word's vectors (SDXL pairs, several words, a
/// refused pickle global); DataLoss for damage and for NaN or infinite values.
absl::StatusOr<Embedding> ReadEmbedding(std::string_view bytes, std::string_view file_name);

/// OK when the embedding's width is the model's `text_width`; otherwise InvalidArgument with both
/// widths and the families they belong to.
absl::Status CheckWidth(const Embedding& embedding, int64_t text_width, std::string_view file_name);

}  // namespace neolog
