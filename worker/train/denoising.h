#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <vector>

#include "worker/diffusion/model.h"
#include "worker/torch_support/cuda/graph.h"

namespace neolog::train {

/// What the UNet's part of a microbatch is computed from, on the model's device. Nothing else may
/// change from one microbatch to the next.
struct DenoisingInput {
  diffusion::Conditioning text;  // no gradient flows beyond it
  at::Tensor noisy;              // [M, C, h, w] float32
  at::Tensor target;             // [M, C, h, w] float32
  at::Tensor timesteps;          // [M] int64
  at::Tensor weights;            // [M] float32: what each sample's loss is multiplied with
};

/// What comes of it, on the model's device.
struct DenoisingResult {
  at::Tensor losses;           // [M] float32, not multiplied with anything
  at::Tensor hidden_gradient;  // of text.hidden
  at::Tensor pooled_gradient;  // of text.pooled; undefined without
};

/// The UNet forward, the loss of each sample and backward to the text. Throws as libtorch does.
DenoisingResult Denoise(const diffusion::Model& model, const DenoisingInput& input);

/// The same, recorded as a graph when a shape is first met and run from it afterwards: nearly all
/// kernels of a step are in here. The text encoders stay outside, whose splicing depends on the
/// prompts. Results are valid until the next Run of the same shapes.
class GraphedDenoising {
 public:
  /// `model` must outlive this.
  GraphedDenoising(const diffusion::Model* model, torch_support::GraphFactory graphs)
      : model_(model), graphs_(std::move(graphs)) {}
  /// Throws as libtorch does.
  DenoisingResult Run(const DenoisingInput& input);

 private:
  struct Recorded {
    std::unique_ptr<torch_support::Graph> graph;
    DenoisingInput input;  // what the graph reads
    DenoisingResult result;
  };
  const diffusion::Model* const model_;
  const torch_support::GraphFactory graphs_;
  std::map<std::vector<int64_t>, Recorded> recorded_;  // by shapes
};

}  // namespace neolog::train
