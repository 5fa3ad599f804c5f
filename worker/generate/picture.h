#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

#include "common/base/status.h"
#include "worker/dataset/prompts.h"
#include "worker/diffusion/model.h"

namespace neolog::generate {

/// A picture to draw from a prompt.
struct PictureRequest {
  dataset::PicturePrompts prompts;
  /// Learned rows that the prompts' slots stand for, of every encoder (diffusion::RowBlocks), [F]
  /// float32; [0] without a word.
  at::Tensor rows;
  /// As in PreviewSpec.
  std::string sampler = "euler_a";
  int steps = 20;
  double cfg = 7;
  uint64_t seed = 1;
  /// Pixels of a side of the square.
  uint32_t side = 512;
  /// The model's short hash, for the text in the file; may be empty.
  std::string model_hash;
};

/// Asked before every sampling step; false stops the drawing.
using KeepGoing = std::function<bool()>;

/// Draws the picture, [3, side, side] float32, clamped to [0, 1]. Guidance and prompt are computed
/// as one batch of two. Draw i of the sampler (0: the start) is FillNormal({seed, kSampler, step
/// i}) over [C, h, w], so a seed gives one picture, whatever else is drawn before or beside it.
/// InvalidArgument for an unknown sampler, a side that does not fit, or prompts with different
/// numbers of chunks; Aborted when stopped.
absl::StatusOr<at::Tensor> DrawPicture(const diffusion::Model& model, const PictureRequest& request,
                                       const KeepGoing& keep_going = {});

/// The settings of a picture as A1111 writes them into its files: the prompt, a line "Negative
/// prompt: …" when there is one, and a line "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1,
/// Size: 512x512, Model hash: 0123456789, Version: …".
std::string PictureParameters(const PictureRequest& request);

/// DrawPicture as a PNG with its PictureParameters in the text chunk "parameters".
absl::StatusOr<std::string> DrawPng(const diffusion::Model& model, const PictureRequest& request,
                                    const KeepGoing& keep_going = {});

}  // namespace neolog::generate
