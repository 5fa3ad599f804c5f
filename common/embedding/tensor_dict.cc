#include "common/embedding/tensor_dict.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/embedding/keys.h"
#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"

namespace neolog {
namespace {

constexpr size_t kShownBytes = 100;

std::string List(const std::vector<std::string>& keys) {
  std::string names;
  for (const std::string& key : keys) {
    if (names.size() > kShownBytes) return names + ", ...";
    names += (names.empty() ? "" : ", ") + Shown(key);
  }
  return names;
}

const NamedTensor* Find(const std::vector<NamedTensor>& tensors, std::string_view key) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& tensor) { return tensor.key == key; });
  return found == tensors.end() ? nullptr : &*found;
}

absl::StatusOr<Embedding> TwoEncoders(const NamedTensor& clip_l, const NamedTensor& clip_g) {
  Embedding embedding;
  embedding.format = EmbeddingFormat::kSdxl;
  embedding.name_stored = false;
  int64_t vectors = 0;
  ASSIGN_OR_RETURN(EmbeddingBlock first, BlockOfTensor(clip_l, &embedding.vectors));
  ASSIGN_OR_RETURN(EmbeddingBlock second, BlockOfTensor(clip_g, &vectors));
  if (vectors != embedding.vectors) {
    return InvalidArgument(fmt::format(
        "clip_l holds {} vectors and clip_g {}: expected the same number for both text encoders",
        embedding.vectors, vectors));
  }
  embedding.blocks.push_back(std::move(first));
  embedding.blocks.push_back(std::move(second));
  return embedding;
}

}  // namespace

absl::StatusOr<EmbeddingBlock> BlockOfTensor(const NamedTensor& tensor, int64_t* vectors) {
  const std::string shown = Shown(tensor.key);
  if (tensor.shape.empty() || tensor.shape.size() > 2) {
    return InvalidArgument(
        fmt::format("the tensor '{}' has {} dimensions: expected two, [vectors, "
                    "width], or one",
                    shown, tensor.shape.size()));
  }
  *vectors = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  EmbeddingBlock block;
  block.width = tensor.shape.back();
  ASSIGN_OR_RETURN_WITH(block.values, tensor.read(), fmt::format("the tensor '{}'", shown));
  return block;
}

absl::StatusOr<Embedding> EmbeddingOfTensors(const std::vector<NamedTensor>& tensors) {
  std::vector<std::string> keys;
  for (const NamedTensor& tensor : tensors) keys.push_back(tensor.key);
  if (keys.empty()) return InvalidArgument("it holds no tensor: expected the vectors of one word");
  if (const std::string misfit = KnownMisfit(keys); !misfit.empty()) return InvalidArgument(misfit);
  const NamedTensor* clip_l = Find(tensors, kSdxlKeys[0]);
  const NamedTensor* clip_g = Find(tensors, kSdxlKeys[1]);
  if (keys.size() == 2 && clip_l != nullptr && clip_g != nullptr)
    return TwoEncoders(*clip_l, *clip_g);
  if (keys.size() != 1) {
    return InvalidArgument(
        fmt::format("it holds {} tensors ({}), perhaps of several words: "
                    "expected one, the vectors of one word",
                    keys.size(), List(keys)));
  }
  Embedding embedding;
  embedding.format = FormatOfKey(keys[0]);
  embedding.name_stored = KeyIsWord(keys[0]) && !keys[0].empty();
  if (embedding.name_stored) embedding.name = keys[0];
  ASSIGN_OR_RETURN(EmbeddingBlock block, BlockOfTensor(tensors[0], &embedding.vectors));
  embedding.blocks.push_back(std::move(block));
  return embedding;
}

absl::StatusOr<Embedding> ReadSafetensorsEmbedding(std::string_view bytes,
                                                   std::string_view file_name) {
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Parse(bytes, file_name));
  std::vector<NamedTensor> tensors;
  for (const auto& [key, view] : file->tensors()) {
    tensors.push_back({key, view.shape, [view = &view] { return ToFloat32(*view); }});
  }
  return EmbeddingOfTensors(tensors);
}

absl::StatusOr<std::string> WriteSafetensorsDict(const Embedding& embedding,
                                                 const std::vector<std::string>& keys) {
  std::map<std::string, TensorView> tensors;
  for (size_t i = 0; i < keys.size(); ++i) {
    const EmbeddingBlock& block = embedding.blocks[i];
    tensors[keys[i]] = {TensorType::kFloat32,
                        {embedding.vectors, block.width},
                        std::as_bytes(std::span(block.values))};
  }
  return SerializeSafetensors(tensors, {{"format", "pt"}});
}

}  // namespace neolog
