#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/embedding_format.h"
#include "common/base/status.h"

namespace neolog {

/// The rows of a word for one text encoder.
struct EmbeddingBlock {
  /// D.
  int64_t width = 0;
  /// [N, D] row-major.
  std::vector<float> values;
};

/// A learned word as embedding files hold it.
struct Embedding {
  /// The word; where a file holds none, the file's stem.
  std::string name;
  /// Whether the file holds the name.
  bool name_stored = true;
  /// N, the same for every text encoder.
  int64_t vectors = 0;
  /// One for a model with one text encoder; for SDXL clip_l, then clip_g.
  std::vector<EmbeddingBlock> blocks;
  /// Optimiser steps it was trained for, where a file says so.
  std::optional<int64_t> step;
  /// The model it was trained on, where a file says so: A1111's short hash (10 hex digits) and
  /// name.
  std::optional<std::string> checkpoint_hash;
  std::optional<std::string> checkpoint_name;
  /// What was read.
  EmbeddingFormat format = EmbeddingFormat::kDiffusers;

  /// D of each block.
  std::vector<int64_t> Widths() const;
  /// The values of all blocks one after the other, as WordSpec.initial_rows and the workers have
  /// them.
  std::vector<float> Rows() const;
};

/// A format by its name in a run's settings. InvalidArgument names those that can be written.
absl::StatusOr<EmbeddingFormat> ParseEmbeddingFormat(std::string_view name);

/// How a file holds its tensors.
enum class EmbeddingContainer { kTorch, kSafetensors, kPng };

/// The container that a file name asks for: .pt and .bin are torch files, .safetensors and .png
/// themselves. InvalidArgument for other extensions.
absl::StatusOr<EmbeddingContainer> ContainerOf(std::string_view file_name);

struct WriteOptions {
  /// Nothing: the one of the format's extension. A1111's dictionary is a torch file or a picture;
  /// every other format can be a torch file (torch.save of a dictionary) or safetensors.
  std::optional<EmbeddingContainer> container;
  /// A PNG file to carry the rows, for kPng; empty: a plain card.
  std::string_view picture;
};

/// The file's bytes; the same embedding gives the same bytes, and every value is kept bit for bit.
/// InvalidArgument when the values are not N x D finite numbers, the name is empty or not UTF-8, or
/// the format cannot hold this embedding or is not written in that container; the message says what
/// to do.
absl::StatusOr<std::string> WriteEmbedding(const Embedding& embedding, EmbeddingFormat format,
                                           const WriteOptions& options = {});

/// Reads an embedding; the contents decide the format, not the file's name:
/// - torch files (.pt, .bin) with A1111's or the original textual-inversion dictionary, and PNG
///   pictures with A1111's in their text or pixels;
/// - torch or safetensors files with one tensor [N, D] or [D], whatever its key (diffusers, kohya's
///   emb_params, OneTrainer's emp_params), or with clip_l and clip_g; a torch file may also be the
///   bare tensor.
/// Pickles are parsed, never executed. float16, bfloat16, float32 and float64 become float32.
/// `file_name` stands in messages, and its stem is the name where the file holds none. At most
/// 1,000 vectors of width 16,384.
///
/// InvalidArgument for what is readable but is not one word's vectors for CLIP's encoders; the
/// message says what it is (rows for T5, kohya's XTI, OneTrainer's output embeddings, a LoRA, a
/// checkpoint, several words, just a picture). DataLoss for damage and for NaN or infinite values.
absl::StatusOr<Embedding> ReadEmbedding(std::string_view bytes, std::string_view file_name);

/// OK when the embedding's widths are the model's; otherwise InvalidArgument with both and the
/// families they belong to.
absl::Status CheckWidths(const Embedding& embedding, const std::vector<int64_t>& text_widths,
                         std::string_view file_name);

}  // namespace neolog
