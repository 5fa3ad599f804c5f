#include "common/embedding/embedding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "common/embedding/a1111.h"
#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"
#include "common/text/unicode.h"

namespace neolog {
namespace {

constexpr int64_t kMaxVectors = 1000;
constexpr int64_t kMaxWidth = 16384;

std::string FamilyOf(int64_t width) {
  switch (width) {
    case 768: return "Stable Diffusion 1, or the first encoder of SDXL";
    case 1024: return "Stable Diffusion 2";
    case 1280: return "the second encoder of SDXL";
    case 4096: return "the T5 encoder of SD 3 or Flux";
    default: return "no model family known here";
  }
}

std::string Stem(std::string_view file_name) {
  file_name = file_name.substr(file_name.rfind('/') + 1);
  const size_t dot = file_name.rfind('.');
  return std::string(dot == file_name.npos || dot == 0 ? file_name : file_name.substr(0, dot));
}

absl::StatusOr<Embedding> ReadSafetensors(std::string_view bytes, std::string_view file_name) {
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Parse(bytes, file_name));
  const auto& tensors = file->tensors();
  if (tensors.contains("clip_l") && tensors.contains("clip_g")) {
    return InvalidArgument(
        "it holds rows for two text encoders (clip_l and clip_g): an SDXL embedding, expected one "
        "of a model with one encoder");
  }
  if (tensors.size() != 1) {
    std::string names;
    for (const auto& [name, tensor] : tensors) {
      if (names.size() > 100) break;
      names += (names.empty() ? "" : ", ") + name;
    }
    return InvalidArgument(fmt::format(
        "it holds {} tensors ({}): expected one, the vectors of one word", tensors.size(), names));
  }
  const auto& [key, tensor] = *tensors.begin();
  Embedding embedding;
  embedding.name =
      key == "emb_params" || key == "emp_params" || key == "clip_l" || key == "clip_g" ? "" : key;
  if (tensor.shape.empty() || tensor.shape.size() > 2) {
    return InvalidArgument(fmt::format(
        "the tensor '{}' has {} dimensions: expected [vectors, width]", key, tensor.shape.size()));
  }
  embedding.vectors = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  embedding.width = tensor.shape.back();
  ASSIGN_OR_RETURN_WITH(embedding.values, ToFloat32(tensor), fmt::format("the tensor '{}'", key));
  return embedding;
}

/// What both readers and writers hold to.
std::string ProblemWith(const Embedding& embedding) {
  if (embedding.vectors < 1 || embedding.vectors > kMaxVectors || embedding.width < 1 ||
      embedding.width > kMaxWidth) {
    return fmt::format("it holds {} vectors of width {}: expected 1 to {} vectors of width 1 to {}",
                       embedding.vectors, embedding.width, kMaxVectors, kMaxWidth);
  }
  if (embedding.values.size() != static_cast<size_t>(embedding.vectors * embedding.width)) {
    return fmt::format("it holds {} values: expected {} x {}", embedding.values.size(),
                       embedding.vectors, embedding.width);
  }
  return "";
}

absl::Status CheckFinite(const Embedding& embedding) {
  const auto bad = std::find_if(embedding.values.begin(), embedding.values.end(),
                                [](float v) { return !std::isfinite(v); });
  if (bad == embedding.values.end()) return absl::OkStatus();
  const int64_t index = bad - embedding.values.begin();
  return DataLoss(
      fmt::format("vector {}, element {} is {}: the training that made it had broken down",
                  index / embedding.width, index % embedding.width, *bad));
}

absl::StatusOr<std::string> WriteDiffusers(const Embedding& embedding) {
  const TensorView view{TensorType::kFloat32,
                        {embedding.vectors, embedding.width},
                        std::as_bytes(std::span(embedding.values))};
  return SerializeSafetensors({{embedding.name, view}}, {{"format", "pt"}});
}

absl::StatusOr<Embedding> ReadAny(std::string_view bytes, std::string_view file_name) {
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02"))
    return ReadTorchEmbedding(bytes);
  if (bytes.starts_with("\x89PNG"))
    return InvalidArgument("it is a picture: expected a .pt or .safetensors embedding");
  if (bytes.size() > 8 && bytes[8] == '{') return ReadSafetensors(bytes, file_name);
  return InvalidArgument(
      "it is neither a safetensors file nor one of torch.save: expected a .pt or .safetensors "
      "embedding");
}

}  // namespace

absl::StatusOr<EmbeddingFormat> ParseEmbeddingFormat(std::string_view name) {
  if (name == "a1111") return EmbeddingFormat::kA1111;
  if (name == "diffusers") return EmbeddingFormat::kDiffusers;
  return InvalidArgument(
      fmt::format("unknown embedding format '{}': expected a1111 or diffusers", name));
}

std::string_view FileExtension(EmbeddingFormat format) {
  return format == EmbeddingFormat::kA1111 ? ".pt" : ".safetensors";
}

absl::StatusOr<std::string> WriteEmbedding(const Embedding& embedding, EmbeddingFormat format) {
  if (embedding.name.empty())
    return InvalidArgument("an embedding without a name cannot be written");
  for (const std::string& text : {embedding.name, embedding.checkpoint_hash.value_or(""),
                                  embedding.checkpoint_name.value_or("")}) {
    if (!IsValidUtf8(text))
      return InvalidArgument(fmt::format("the embedding's name or checkpoint '{}' is not UTF-8",
                                         ReplaceInvalidUtf8(text)));
  }
  if (const std::string problem = ProblemWith(embedding); !problem.empty()) {
    return InvalidArgument(fmt::format("writing the embedding '{}': {}", embedding.name, problem));
  }
  if (const absl::Status finite = CheckFinite(embedding); !finite.ok()) {
    return InvalidArgument(
        fmt::format("writing the embedding '{}': {}", embedding.name, ToStd(finite.message())));
  }
  return format == EmbeddingFormat::kA1111 ? WriteA1111(embedding) : WriteDiffusers(embedding);
}

absl::StatusOr<Embedding> ReadEmbedding(std::string_view bytes, std::string_view file_name) {
  const std::string context = fmt::format("reading the embedding '{}'", file_name);
  ASSIGN_OR_RETURN_WITH(Embedding embedding, ReadAny(bytes, file_name), context);
  if (const std::string problem = ProblemWith(embedding); !problem.empty())
    return InvalidArgument(fmt::format("{}: {}", context, problem));
  RETURN_IF_ERROR_WITH(CheckFinite(embedding), context);
  if (embedding.name.empty()) embedding.name = Stem(file_name);
  embedding.name = ReplaceInvalidUtf8(embedding.name);
  return embedding;
}

absl::Status CheckWidth(const Embedding& embedding, int64_t text_width,
                        std::string_view file_name) {
  if (embedding.width == text_width) return absl::OkStatus();
  return InvalidArgument(fmt::format(
      "the embedding '{}' has vectors of width {} ({}), but the model takes width {} ({}): use an "
      "embedding made for this model",
      file_name, embedding.width, FamilyOf(embedding.width), text_width, FamilyOf(text_width)));
}

}  // namespace neolog
