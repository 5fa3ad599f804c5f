#include "coordinator/cli/init_file.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace neolog::cli {
namespace {

// 1,000 vectors of width 16,384 as float64 and some overhead: more is no embedding.
constexpr uint64_t kMaxFileBytes = 160 << 20;

}  // namespace

absl::StatusOr<Embedding> ReadEmbeddingFile(const std::string& path, FileSystem& fs) {
  ASSIGN_OR_RETURN(const FileInfo info, fs.Stat(path));
  if (info.size > kMaxFileBytes) {
    return InvalidArgument(
        fmt::format("'{}' has {} MB and is no embedding, which has a few: perhaps it is a "
                    "checkpoint or a LoRA",
                    path, info.size / 1'000'000));
  }
  ASSIGN_OR_RETURN(const std::string bytes, fs.Read(path, kMaxFileBytes));
  return ReadEmbedding(bytes, path);
}

absl::StatusOr<std::string> ReadInitialRows(const std::string& path, uint32_t vectors,
                                            const std::vector<int64_t>& widths, FileSystem& fs) {
  static_assert(std::endian::native == std::endian::little);
  ASSIGN_OR_RETURN(const Embedding embedding, ReadEmbeddingFile(path, fs));
  RETURN_IF_ERROR(CheckWidths(embedding, widths, path));
  if (embedding.vectors != vectors) {
    return InvalidArgument(
        fmt::format("'{}' holds {} vectors, but word.vectors is {}: set word.vectors to {}", path,
                    embedding.vectors, vectors, embedding.vectors));
  }
  const std::vector<float> values = embedding.Rows();
  std::string rows(values.size() * sizeof(float), '\0');
  std::memcpy(rows.data(), values.data(), rows.size());
  return rows;
}

}  // namespace neolog::cli
