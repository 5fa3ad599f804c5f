#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/checkpoint/weights.h"

namespace neolog {

/// What a single file, or a configuration beside it, says about the model that shapes do not say.
struct ModelHints {
  std::optional<bool> v_prediction;
  std::string v_prediction_source;    // who says so, for messages
  std::optional<int64_t> image_size;  // pixels of a side
  std::string image_size_source;
  std::optional<double> scaling_factor;
  std::optional<int64_t> heads;          // attention heads everywhere, or
  std::optional<int64_t> head_channels;  // channels of one head
  std::optional<bool> linear_projection;
  std::optional<double> beta_start, beta_end;
  std::optional<int64_t> timesteps;
};

/// Hints in an original configuration (.yaml): below model.params parameterization, scale_factor,
/// linear_start, linear_end, timesteps, and unet_config's or network_config's (SDXL) num_heads,
/// num_head_channels and use_linear_in_transformer, scaling_config's target (SDXL: EpsScaling or
/// VScaling), and image_size (of latents: eight pixels each) where it is not the 64 of every
/// published file.
/// InvalidArgument with the file and line when it is no YAML, or a value is not of its kind.
absl::StatusOr<ModelHints> HintsOfYaml(const std::string& text, const std::string& name);

/// Hints of a file of tensors itself: `modelspec.prediction_type`, `modelspec.architecture` and
/// `modelspec.resolution`, a checkpoint's `global_step` and kohya's `ss_v_parameterization` among
/// the texts of a safetensors file, a key `v_pred` (empty tensor). `tensors` are those of the file.
ModelHints HintsOfFile(const std::map<std::string, std::string>& metadata,
                       const WeightTable& tensors);

/// `first`, with `second` where `first` says nothing.
ModelHints Merge(ModelHints first, const ModelHints& second);

}  // namespace neolog
