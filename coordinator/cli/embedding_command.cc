#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/base/hash.h"
#include "common/embedding/keys.h"
#include "common/storage/durable_write.h"
#include "common/storage/file_system.h"
#include "common/storage/posix_file_system.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/init_file.h"
#include "coordinator/cli/nearest_tokens.h"

namespace neolog::cli {
namespace {

using Json = nlohmann::ordered_json;
using Nearby = std::vector<std::vector<std::vector<NearToken>>>;

constexpr size_t kNearest = 5;

std::string Sha256Of(const EmbeddingBlock& block) {
  static_assert(std::endian::native == std::endian::little);
  return Sha256Hex(
      {reinterpret_cast<const char*>(block.values.data()), block.values.size() * sizeof(float)});
}

/// The lengths of a block's vectors.
std::vector<double> NormsOf(const EmbeddingBlock& block) {
  std::vector<double> norms;
  for (auto it = block.values.begin(); it != block.values.end(); it += block.width) {
    double sum = 0;
    for (auto v = it; v != it + block.width; ++v)
      sum += static_cast<double>(*v) * static_cast<double>(*v);
    norms.push_back(std::sqrt(sum));
  }
  return norms;
}

/// One value for one text encoder, a list in the order of widths for two.
Json OfBlocks(std::vector<Json> values) {
  if (values.size() == 1) return values[0];
  return Json(values);
}

Json CheckpointOf(const Embedding& embedding) {
  if (!embedding.checkpoint_hash && !embedding.checkpoint_name) return nullptr;
  const auto optional = [](const std::optional<std::string>& text) {
    return text ? Json(*text) : Json(nullptr);
  };
  return {{"hash", optional(embedding.checkpoint_hash)},
          {"name", optional(embedding.checkpoint_name)}};
}

Json ToJson(const Embedding& embedding, const std::optional<Nearby>& nearby) {
  std::vector<Json> hashes, norms;
  for (const EmbeddingBlock& block : embedding.blocks) {
    hashes.push_back(Sha256Of(block));
    norms.push_back(NormsOf(block));
  }
  Json json = {
      {"format", FactsOf(embedding.format).name},
      {"name", embedding.name_stored ? Json(embedding.name) : Json(nullptr)},
      {"step", embedding.step ? Json(*embedding.step) : Json(nullptr)},
      {"vectors", embedding.vectors},
      {"widths", embedding.Widths()},
      {"sha256", OfBlocks(hashes)},
      {"checkpoint", CheckpointOf(embedding)},
      {"norms", OfBlocks(norms)},
  };
  if (!nearby) return json;
  std::vector<Json> blocks;
  for (const auto& block : *nearby) {
    Json vectors = Json::array();
    for (const auto& vector : block) {
      Json tokens = Json::array();
      for (const NearToken& near : vector)
        tokens.push_back({{"token", near.token}, {"id", near.id}, {"cosine", near.cosine}});
      vectors.push_back(std::move(tokens));
    }
    blocks.push_back(std::move(vectors));
  }
  json["nearest"] = OfBlocks(blocks);
  return json;
}

std::string ToText(const Embedding& embedding, const std::optional<Nearby>& nearby) {
  std::string text = fmt::format(
      "format      {}\nname        {}\nstep        {}\nvectors     {}\nwidths      {}\n",
      FactsOf(embedding.format).name,
      embedding.name_stored ? Shown(embedding.name) : "(none stored)",
      embedding.step ? std::to_string(*embedding.step) : "(none stored)", embedding.vectors,
      fmt::join(embedding.Widths(), " "));
  for (const EmbeddingBlock& block : embedding.blocks)
    text += fmt::format("sha256      {}\n", Sha256Of(block));
  if (embedding.checkpoint_hash || embedding.checkpoint_name) {
    text +=
        fmt::format("checkpoint  {} {}\n", Shown(embedding.checkpoint_hash.value_or("(no hash)")),
                    Shown(embedding.checkpoint_name.value_or("(no name)")));
  }
  for (size_t i = 0; i < embedding.blocks.size(); ++i) {
    const std::vector<double> norms = NormsOf(embedding.blocks[i]);
    for (size_t k = 0; k < norms.size(); ++k) {
      text += fmt::format("vector {:<4} width {}, length {:.4f}", k, embedding.blocks[i].width,
                          norms[k]);
      if (nearby) {
        text += ", nearest:";
        for (const NearToken& near : (*nearby)[i][k])
          text += fmt::format(" {} {:.3f}", near.token, near.cosine);
      }
      text += '\n';
    }
  }
  return text;
}

bool SameRows(const Embedding& a, const Embedding& b) {
  const std::vector<float> left = a.Rows(), right = b.Rows();
  return a.vectors == b.vectors && a.Widths() == b.Widths() && left.size() == right.size() &&
         std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0;
}

/// --format, else what OUT's extension and the number of text encoders ask for.
absl::StatusOr<EmbeddingFormat> TargetFormat(const EmbeddingConvertOptions& options,
                                             EmbeddingContainer container, size_t encoders) {
  if (!options.format.empty()) return ParseEmbeddingFormat(options.format);
  if (container == EmbeddingContainer::kPng) return EmbeddingFormat::kPng;
  if (encoders > 1) return EmbeddingFormat::kSdxl;
  return options.out.ends_with(".pt") ? EmbeddingFormat::kA1111 : EmbeddingFormat::kDiffusers;
}

/// "2 vectors of width 768 and 1280".
std::string SizeOf(const Embedding& embedding) {
  return fmt::format("{} vector{} of width {}", embedding.vectors,
                     embedding.vectors == 1 ? "" : "s", fmt::join(embedding.Widths(), " and "));
}

absl::Status Convert(Context& context, FileSystem& fs, const EmbeddingConvertOptions& options) {
  ASSIGN_OR_RETURN(Embedding embedding, ReadEmbeddingFile(options.in, fs));
  if (!options.name.empty()) embedding.name = options.name;
  ASSIGN_OR_RETURN(const EmbeddingContainer container, ContainerOf(options.out));
  ASSIGN_OR_RETURN(const EmbeddingFormat format,
                   TargetFormat(options, container, embedding.blocks.size()));
  WriteOptions write{.container = container, .picture = ""};
  std::string picture;
  if (!options.picture.empty()) {
    if (format != EmbeddingFormat::kPng)
      return InvalidArgument("--picture is for the format png only: leave it out");
    ASSIGN_OR_RETURN(picture, fs.Read(options.picture, uint64_t{64} << 20));
    write.picture = picture;
  }
  ASSIGN_OR_RETURN(const std::string bytes, WriteEmbedding(embedding, format, write));
  if (!options.force && fs.Exists(options.out)) {
    return AlreadyExists(fmt::format(
        "'{}' is there already: choose another name, or replace it with --force", options.out));
  }
  RETURN_IF_ERROR(WriteFileDurably(fs, options.out, bytes));
  ASSIGN_OR_RETURN_WITH(const Embedding read, ReadEmbeddingFile(options.out, fs),
                        "reading back what was written");
  if (!SameRows(read, embedding)) {
    return DataLoss(
        fmt::format("'{}' does not hold what was written to it: the disk is damaged", options.out));
  }
  context.console->Note(
      fmt::format("{} {}: {}", FactsOf(format).name, options.out, SizeOf(embedding)));
  return absl::OkStatus();
}

}  // namespace

ExitCode EmbeddingInfoCommand(Context& context, const EmbeddingInfoOptions& options) {
  const std::unique_ptr<FileSystem> fs = MakePosixFileSystem();
  const auto embedding = ReadEmbeddingFile(options.file, *fs);
  if (!embedding.ok()) return Fail(context, embedding.status(), kExitUsage);
  std::optional<Nearby> nearby;
  if (!options.model.empty()) {
    auto found = NearestTokens(*embedding, options.model, kNearest, options.file);
    if (!found.ok()) return Fail(context, found.status(), kExitUsage);
    nearby = *std::move(found);
  }
  context.console->Print(
      options.json
          ? ToJson(*embedding, nearby).dump(2, ' ', false, Json::error_handler_t::replace) + "\n"
          : ToText(*embedding, nearby));
  return kExitOk;
}

ExitCode EmbeddingConvertCommand(Context& context, const EmbeddingConvertOptions& options) {
  const std::unique_ptr<FileSystem> fs = MakePosixFileSystem();
  const absl::Status status = Convert(context, *fs, options);
  return status.ok() ? kExitOk : Fail(context, status, kExitUsage);
}

ExitCode EmbeddingVerifyCommand(Context& context, const std::vector<std::string>& files) {
  const std::unique_ptr<FileSystem> fs = MakePosixFileSystem();
  ExitCode code = kExitOk;
  for (const std::string& file : files) {
    const auto embedding = ReadEmbeddingFile(file, *fs);
    if (embedding.ok()) {
      context.console->Print(fmt::format("ok   {}: {}, {}\n", file, FactsOf(embedding->format).name,
                                         SizeOf(*embedding)));
    } else {
      code = Fail(context, embedding.status(), kExitUsage);
    }
  }
  return code;
}

}  // namespace neolog::cli
