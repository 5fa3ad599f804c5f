#include "common/embedding/embedding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/embedding/carrier.h"
#include "common/embedding/keys.h"
#include "common/embedding/tensor_dict.h"
#include "common/embedding/torch_embedding.h"
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

/// What both readers and writers hold to.
std::string ProblemWith(const Embedding& embedding) {
  if (embedding.blocks.empty() || embedding.blocks.size() > 2) {
    return fmt::format("it holds rows for {} text encoders: expected one or two",
                       embedding.blocks.size());
  }
  for (const EmbeddingBlock& block : embedding.blocks) {
    if (embedding.vectors < 1 || embedding.vectors > kMaxVectors || block.width < 1 ||
        block.width > kMaxWidth) {
      return fmt::format(
          "it holds {} vectors of width {}: expected 1 to {} vectors of width 1 to {}",
          embedding.vectors, block.width, kMaxVectors, kMaxWidth);
    }
    if (block.values.size() != static_cast<size_t>(embedding.vectors * block.width)) {
      return fmt::format("it holds {} values: expected {} x {}", block.values.size(),
                         embedding.vectors, block.width);
    }
  }
  return "";
}

absl::Status CheckFinite(const Embedding& embedding) {
  for (size_t i = 0; i < embedding.blocks.size(); ++i) {
    const auto& [width, values] = embedding.blocks[i];
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad == values.end()) continue;
    const int64_t index = bad - values.begin();
    return DataLoss(
        fmt::format("vector {}, element {}{} is {}: the training that made it had broken down",
                    index / width, index % width,
                    embedding.blocks.size() == 2 ? fmt::format(" of {}", kSdxlKeys[i]) : "", *bad));
  }
  return absl::OkStatus();
}

absl::StatusOr<Embedding> ReadAny(std::string_view bytes, std::string_view file_name) {
  if (bytes.empty()) return InvalidArgument("the file is empty");
  // First, as a header's length may begin like a pickle; no other format has a brace there.
  if (bytes.size() > 8 && bytes[8] == '{') return ReadSafetensorsEmbedding(bytes, file_name);
  if (bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80\x02"))
    return ReadTorchEmbedding(bytes);
  if (bytes.starts_with("\x89PNG")) return ReadCarrier(bytes);
  for (const std::string_view magic : {"\xff\xd8\xff", "RIFF", "GIF8", "II*", "MM"}) {
    if (bytes.starts_with(magic))
      return InvalidArgument("it is a picture, but no PNG: expected an embedding");
  }
  return InvalidArgument(
      "it is neither a safetensors file nor one of torch.save nor a PNG: expected a .pt, .bin, "
      ".safetensors or .png embedding");
}

std::string_view NameOf(EmbeddingContainer container) {
  switch (container) {
    case EmbeddingContainer::kTorch: return "torch file (.pt, .bin)";
    case EmbeddingContainer::kSafetensors: return ".safetensors file";
    case EmbeddingContainer::kPng: return ".png file";
  }
  return "";
}

absl::Status CheckTexts(const Embedding& embedding) {
  if (embedding.name.empty())
    return InvalidArgument("an embedding without a name cannot be written");
  for (const std::string& text : {embedding.name, embedding.checkpoint_hash.value_or(""),
                                  embedding.checkpoint_name.value_or("")}) {
    if (!IsValidUtf8(text))
      return InvalidArgument(
          fmt::format("the embedding's name or checkpoint '{}' is not UTF-8", Shown(text)));
  }
  return absl::OkStatus();
}

/// Whether the word would read as another format's key.
absl::Status CheckKey(const Embedding& embedding, EmbeddingFormat format) {
  if (format != EmbeddingFormat::kDiffusers) return absl::OkStatus();
  if (KeyIsWord(embedding.name) && KnownMisfit({embedding.name}).empty() &&
      embedding.name != "__metadata__" && embedding.name != "string_to_param")
    return absl::OkStatus();
  return InvalidArgument(fmt::format(
      "the word '{}' means something else as the name of a tensor: write it under another name",
      Shown(embedding.name)));
}

std::string Families(const std::vector<int64_t>& widths) {
  if (widths == std::vector<int64_t>{768, 1280}) return "SDXL";
  return widths.size() == 1 ? FamilyOf(widths[0]) : "no model family known here";
}

}  // namespace

std::vector<int64_t> Embedding::Widths() const {
  std::vector<int64_t> widths;
  for (const EmbeddingBlock& block : blocks) widths.push_back(block.width);
  return widths;
}

std::vector<float> Embedding::Rows() const {
  std::vector<float> rows;
  for (const EmbeddingBlock& block : blocks)
    rows.insert(rows.end(), block.values.begin(), block.values.end());
  return rows;
}

absl::StatusOr<EmbeddingFormat> ParseEmbeddingFormat(std::string_view name) {
  const EmbeddingFormatFacts* found = FindEmbeddingFormat(name);
  if (found != nullptr && found->format != EmbeddingFormat::kOriginal) return found->format;
  std::string names;
  for (const EmbeddingFormatFacts& facts : kEmbeddingFormats) {
    if (facts.format == EmbeddingFormat::kOriginal) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", facts.name);
  }
  return InvalidArgument(
      fmt::format("unknown embedding format '{}': expected one of {}", name, names));
}

absl::StatusOr<EmbeddingContainer> ContainerOf(std::string_view file_name) {
  if (file_name.ends_with(".pt") || file_name.ends_with(".bin")) return EmbeddingContainer::kTorch;
  if (file_name.ends_with(".safetensors")) return EmbeddingContainer::kSafetensors;
  if (file_name.ends_with(".png")) return EmbeddingContainer::kPng;
  return InvalidArgument(fmt::format(
      "'{}' does not end as an embedding file: expected .pt, .bin, .safetensors or .png",
      file_name));
}

absl::StatusOr<std::string> WriteEmbedding(const Embedding& embedding, EmbeddingFormat format,
                                           const WriteOptions& options) {
  RETURN_IF_ERROR(CheckTexts(embedding));
  const std::string context = fmt::format("writing the embedding '{}'", Shown(embedding.name));
  std::string problem = ProblemWith(embedding);
  if (problem.empty()) problem = FormatProblem(format, embedding.blocks.size());
  if (problem.empty()) problem = ToStd(CheckFinite(embedding).message());
  if (!problem.empty()) return InvalidArgument(fmt::format("{}: {}", context, problem));
  const bool picture = format == EmbeddingFormat::kPng;
  const bool a1111 = format == EmbeddingFormat::kA1111;
  const EmbeddingContainer container =
      options.container.value_or(picture ? EmbeddingContainer::kPng
                                 : a1111 ? EmbeddingContainer::kTorch
                                         : EmbeddingContainer::kSafetensors);
  if ((container == EmbeddingContainer::kPng) != picture ||
      (a1111 && container != EmbeddingContainer::kTorch)) {
    return InvalidArgument(fmt::format("{}: a {} cannot be of the format '{}': expected a {}",
                                       context, NameOf(container), FactsOf(format).name,
                                       NameOf(picture ? EmbeddingContainer::kPng
                                              : a1111 ? EmbeddingContainer::kTorch
                                                      : EmbeddingContainer::kSafetensors)));
  }
  RETURN_IF_ERROR_WITH(CheckKey(embedding, format), context);
  if (a1111) return WriteA1111(embedding);
  const std::vector<std::string> keys = KeysFor(embedding, format);
  auto bytes = picture ? WriteCarrier(embedding, options.picture)
               : container == EmbeddingContainer::kTorch
                   ? absl::StatusOr<std::string>(WriteTorchDict(embedding, keys))
                   : WriteSafetensorsDict(embedding, keys);
  RETURN_IF_ERROR_WITH(bytes.status(), context);
  return bytes;
}

absl::StatusOr<Embedding> ReadEmbedding(std::string_view bytes, std::string_view file_name) {
  const std::string context = fmt::format("reading the embedding '{}'", file_name);
  ASSIGN_OR_RETURN_WITH(Embedding embedding, ReadAny(bytes, file_name), context);
  if (const std::string problem = ProblemWith(embedding); !problem.empty())
    return InvalidArgument(fmt::format("{}: {}", context, problem));
  RETURN_IF_ERROR_WITH(CheckFinite(embedding), context);
  if (!embedding.name_stored) embedding.name = Stem(file_name);
  embedding.name = ReplaceInvalidUtf8(embedding.name);
  return embedding;
}

absl::Status CheckWidths(const Embedding& embedding, const std::vector<int64_t>& text_widths,
                         std::string_view file_name) {
  const std::vector<int64_t> widths = embedding.Widths();
  if (widths == text_widths) return absl::OkStatus();
  return InvalidArgument(fmt::format(
      "the embedding '{}' has vectors of width {} ({}), but the model takes width {} ({}): use an "
      "embedding made for this model",
      file_name, fmt::join(widths, " and "), Families(widths), fmt::join(text_widths, " and "),
      Families(text_widths)));
}

}  // namespace neolog
