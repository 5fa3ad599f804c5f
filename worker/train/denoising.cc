#include "worker/train/denoising.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>

namespace neolog::train {
namespace {

// Every tensor of an input; some may be undefined.
std::array<at::Tensor*, 7> TensorsOf(DenoisingInput& input) {
  return {&input.text.hidden, &input.text.pooled, &input.text.time_ids, &input.noisy,
          &input.target,      &input.timesteps,   &input.weights};
}

std::vector<int64_t> ShapesOf(DenoisingInput input) {
  std::vector<int64_t> shapes;
  for (const at::Tensor* tensor : TensorsOf(input)) {
    shapes.push_back(tensor->defined() ? tensor->dim() : -1);
    if (tensor->defined())
      shapes.insert(shapes.end(), tensor->sizes().begin(), tensor->sizes().end());
  }
  return shapes;
}

}  // namespace

DenoisingResult Denoise(const diffusion::Model& model, const DenoisingInput& input) {
  diffusion::Conditioning text = input.text;
  std::vector<at::Tensor> leaves;
  for (at::Tensor* leaf : {&text.hidden, &text.pooled}) {
    if (!leaf->defined()) continue;
    *leaf = leaf->detach().requires_grad_(true);
    leaves.push_back(*leaf);
  }
  const at::Tensor losses = (model.PredictNoise(input.noisy, input.timesteps, text) - input.target)
                                .square()
                                .mean({1, 2, 3});
  const auto gradients = torch::autograd::grad({(losses * input.weights).sum()}, leaves);
  return {losses.detach(), gradients[0], leaves.size() > 1 ? gradients[1] : at::Tensor()};
}

DenoisingResult GraphedDenoising::Run(const DenoisingInput& input) {
  const auto place = recorded_.try_emplace(ShapesOf(input)).first;
  Recorded& recorded = place->second;
  DenoisingInput given = input;
  const auto from = TensorsOf(given), to = TensorsOf(recorded.input);
  for (size_t i = 0; i < from.size(); ++i) {
    if (!from[i]->defined()) continue;
    if (!to[i]->defined()) *to[i] = at::empty_like(*from[i]);
    to[i]->copy_(from[i]->detach(), /*non_blocking=*/true);
  }
  if (recorded.graph == nullptr) {
    std::unique_ptr<torch_support::Graph> graph = graphs_();
    try {
      graph->Capture([&] { recorded.result = Denoise(*model_, recorded.input); });
    } catch (...) {
      recorded_.erase(place);
      throw;
    }
    recorded.graph = std::move(graph);
  }
  recorded.graph->Replay();
  return recorded.result;
}

}  // namespace neolog::train
