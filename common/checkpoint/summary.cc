#include "common/checkpoint/summary.h"

#include <numeric>

namespace neolog {
namespace {

PartSummary Summarise(const CheckpointPart& part) {
  PartSummary summary{.name = part.name};
  for (const auto& [key, source] : part.weights) {
    const auto& shape = source.view.shape;
    const int64_t count =
        std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    summary.parameters += count;
    summary.bytes += static_cast<int64_t>(source.view.data.size());
    summary.types[std::string(NameOf(source.view.type))] += count;
  }
  return summary;
}

}  // namespace

std::vector<PartSummary> SummariseParts(const Checkpoint& checkpoint) {
  std::vector<PartSummary> parts;
  for (const CheckpointPart& part : checkpoint.text_encoders) parts.push_back(Summarise(part));
  parts.push_back(Summarise(checkpoint.unet_weights));
  parts.push_back(Summarise(checkpoint.vae_weights));
  return parts;
}

}  // namespace neolog
