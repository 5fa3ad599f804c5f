#include "coordinator/projection/embedding_files.h"

#include <fmt/format.h>

#include <cstring>

#include "common/embedding/embedding.h"

namespace neolog::coordinator {
namespace {

/// What A1111 calls a model by: its folder's name, or its file's without the ending.
std::string NameOfModel(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::string name = path.substr(path.rfind('/') + 1);
  for (const std::string_view ending : {".safetensors", ".ckpt", ".pt", ".bin"}) {
    if (name.size() > ending.size() && name.ends_with(ending))
      return name.substr(0, name.size() - ending.size());
  }
  return name;
}

}  // namespace

absl::StatusOr<std::string> MakeEmbeddingFile(const v1::RunSpec& spec, const v1::TrainState& state,
                                              std::string_view format) {
  ASSIGN_OR_RETURN(const EmbeddingFormat parsed, ParseEmbeddingFormat(format));
  if (state.blocks_size() == 0) {
    return InvalidArgument(fmt::format("the state of run '{}' has no rows", spec.name()));
  }
  Embedding embedding;
  embedding.name = state.blocks(0).word();
  embedding.step = static_cast<int64_t>(state.step());
  embedding.vectors = state.blocks(0).vectors();
  for (const v1::RowBlock& block : state.blocks()) {
    if (block.word() != embedding.name || block.vectors() != embedding.vectors) {
      return InvalidArgument(fmt::format(
          "the state of run '{}' has {} vectors of '{}' and {} of '{}': expected the "
          "same word for every text encoder",
          spec.name(), embedding.vectors, embedding.name, block.vectors(), block.word()));
    }
    if (block.rows().size() != size_t{4} * block.vectors() * block.width()) {
      return InvalidArgument(
          fmt::format("the state of run '{}' has {} bytes of rows for {} vectors of {} floats",
                      spec.name(), block.rows().size(), block.vectors(), block.width()));
    }
    EmbeddingBlock& added = embedding.blocks.emplace_back();
    added.width = block.width();
    added.values.resize(block.rows().size() / sizeof(float));
    std::memcpy(added.values.data(), block.rows().data(), block.rows().size());
  }
  if (!spec.model().short_hash().empty()) embedding.checkpoint_hash = spec.model().short_hash();
  embedding.checkpoint_name = NameOfModel(spec.model().path());
  return WriteEmbedding(embedding, parsed);
}

}  // namespace neolog::coordinator
