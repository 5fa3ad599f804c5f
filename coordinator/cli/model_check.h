#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/memory_estimate.h"
#include "common/text/tokenizer.h"

namespace neolog::cli {

/// What submission needs to know of a model.
struct ModelFacts {
  /// The width D of each text encoder's token embeddings: one, or two for SDXL.
  std::vector<uint32_t> text_widths;
  /// Token positions of a prompt (77 for CLIP).
  uint32_t positions = 0;
  /// Where the model is (a hub name's snapshot), and whether that is one file.
  std::string path;
  bool single_file = false;
  /// Every file the fingerprint covers.
  std::vector<ModelFile> files;
  /// One a text encoder. Where weights are damaged and a tokenizer is not: that one.
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  /// What the user should know: guesses, weights that are not used.
  std::vector<std::string> notes;
  /// What training needs.
  MemoryEstimate memory;
};

/// Looks at a model, a folder, a single file or a hub name, as InspectCheckpoint does, and at its
/// tokenizers. Adds each problem to `problems`: what is wrong with which file and what to do. The
/// facts are complete only when none was added. Weights are not read. `memory` asks what training
/// needs; a side of 0 is the model's own.
ModelFacts InspectModel(const std::string& path, const CheckpointOptions& options,
                        const MemoryQuestion& memory, std::vector<std::string>* problems);

}  // namespace neolog::cli
