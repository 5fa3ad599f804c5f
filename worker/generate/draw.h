#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/embedding/embedding.h"
#include "worker/dataset/prompts.h"
#include "worker/diffusion/model.h"

namespace neolog::generate {

/// A list of pictures to draw.
struct DrawList {
  std::vector<std::string> prompts;
  std::string negative_prompt;
  /// How all of them are read.
  PromptRules rules;
  /// The learned word and its rows; none: every prompt is ordinary text.
  std::optional<Embedding> embedding;
  std::string sampler = "euler_a";
  int steps = 20;
  double cfg = 7;
  /// Prompt n is drawn with seed + n.
  uint64_t seed = 1;
  /// Pixels of a side; 0: the model's own.
  uint32_t side = 0;
};

/// One drawn prompt.
struct Drawn {
  std::string prompt;
  uint64_t seed = 0;
  std::string png;
};

/// Draws the list, in order, and gives each picture to `take` as soon as it is there; an error of
/// `take` ends the drawing. InvalidArgument when there is no prompt, one cannot be read
/// (SplicePrompt), or the embedding's width is not the model's.
absl::Status DrawAll(const diffusion::Model& model, const dataset::Tokenizers& tokenizers,
                     const DrawList& list, const std::function<absl::Status(Drawn)>& take);

}  // namespace neolog::generate
