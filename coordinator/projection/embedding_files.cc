#include "coordinator/projection/embedding_files.h"

#include <fmt/format.h>

#include "common/tensor_file/safetensors.h"

namespace neolog::coordinator {

absl::StatusOr<std::string> MakeEmbeddingFile(const v1::RunSpec& spec, const v1::TrainState& state,
                                              EmbeddingFormat format) {
  if (state.blocks_size() != 1) {
    return InvalidArgument(fmt::format("the state of run '{}' has {} blocks of rows, one can be written", spec.name(),
                                       state.blocks_size()));
  }
  const v1::RowBlock& block = state.blocks(0);
  if (format != EmbeddingFormat::kDiffusers) {
    return absl::UnimplementedError("this build writes diffusers' embedding files only");
  }
  TensorView view;
  view.type = TensorType::kFloat32;
  view.shape = {static_cast<int64_t>(block.vectors()), static_cast<int64_t>(block.width())};
  view.data = std::as_bytes(std::span(block.rows().data(), block.rows().size()));
  return SerializeSafetensors({{block.word(), view}}, {});
}

}  // namespace neolog::coordinator
