#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace neolog::cli {

/// What submission needs to know of a model folder.
struct ModelFacts {
  /// The width D of the text encoder's token embeddings.
  uint32_t text_width = 0;
  /// Token positions of a prompt (77 for CLIP).
  uint32_t positions = 0;
  /// Every file the fingerprint covers: ModelFiles (common/storage/model_fingerprint.h).
  std::vector<std::string> files;
};

/// Looks at a diffusers folder of an SD 1.x model: the parts are there, configurations parse, every
/// weight file has a whole safetensors header, and the text encoder says how wide it is
/// (config.json, else the shape of its token embedding, and both must agree). Adds each problem to
/// `problems`: what is wrong with which file and what to do. The facts are complete only when none
/// was added. Weights are not read.
ModelFacts InspectModel(const std::string& folder, std::vector<std::string>* problems);

}  // namespace neolog::cli
