#include "coordinator/cli/nearest_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"

namespace neolog::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kTable[] = "text_model.embeddings.token_embedding.weight";

/// [tokens, width] row-major.
struct Table {
  int64_t width = 0;
  std::vector<float> values;
};

/// The token embeddings of a text encoder, from whichever of its weight files has them.
absl::StatusOr<Table> ReadTable(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& path : files) {
    ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path.string()));
    const auto found = file->tensors().find(kTable);
    if (found == file->tensors().end() || found->second.shape.size() != 2) continue;
    Table table;
    table.width = found->second.shape[1];
    ASSIGN_OR_RETURN_WITH(table.values, ToFloat32(found->second), path.string());
    return table;
  }
  return NotFound(
      fmt::format("'{}' has no .safetensors file with '{}'; expected the text encoder of a "
                  "diffusers folder",
                  folder.string(), kTable));
}

/// Token texts by id.
absl::StatusOr<std::vector<std::string>> ReadVocabulary(const fs::path& path) {
  std::ifstream file(path);
  if (!file) return NotFound(fmt::format("'{}' is missing", path.string()));
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return DataLoss(fmt::format("'{}' is no JSON object", path.string()));
  std::vector<std::string> tokens(json.size());
  for (const auto& [token, id] : json.items()) {
    if (id.is_number_unsigned() && id.get<uint64_t>() < tokens.size())
      tokens[id.get<uint64_t>()] = token;
  }
  return tokens;
}

double Dot(const float* a, const float* b, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// The tokens nearest to one vector.
std::vector<NearToken> Nearest(const float* vector, const Table& table,
                               const std::vector<std::string>& tokens, size_t count) {
  const double norm = std::sqrt(Dot(vector, vector, table.width));
  const auto rows = static_cast<int64_t>(table.values.size()) / table.width;
  std::vector<std::pair<double, int64_t>> order;  // minus cosine, id
  for (int64_t id = 0; id < rows; ++id) {
    const float* row = &table.values[static_cast<size_t>(id * table.width)];
    const double product = norm * std::sqrt(Dot(row, row, table.width));
    if (product > 0) order.emplace_back(-Dot(vector, row, table.width) / product, id);
  }
  const size_t kept = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end());
  std::vector<NearToken> near;
  for (size_t i = 0; i < kept; ++i) {
    const auto id = static_cast<size_t>(order[i].second);
    near.push_back({id < tokens.size() ? tokens[id] : "", order[i].second, -order[i].first});
  }
  return near;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<std::vector<NearToken>>>> NearestTokens(
    const Embedding& embedding, const std::string& folder, size_t count,
    const std::string& file_name) {
  const fs::path root(folder);
  std::error_code error;
  std::vector<Table> tables;
  std::vector<int64_t> widths;
  std::vector<std::vector<std::string>> vocabularies;
  for (const char* suffix : {"", "_2"}) {
    const fs::path encoder = root / (std::string("text_encoder") + suffix);
    if (*suffix != '\0' && !fs::exists(encoder, error)) continue;
    ASSIGN_OR_RETURN(Table table, ReadTable(encoder));
    widths.push_back(table.width);
    tables.push_back(std::move(table));
    const std::string tokenizer = std::string("tokenizer") + suffix;
    ASSIGN_OR_RETURN(std::vector<std::string> tokens,
                     ReadVocabulary(root / tokenizer / "vocab.json"));
    vocabularies.push_back(std::move(tokens));
  }
  RETURN_IF_ERROR(CheckWidths(embedding, widths, file_name));
  std::vector<std::vector<std::vector<NearToken>>> nearest;
  for (size_t i = 0; i < tables.size(); ++i) {
    nearest.emplace_back();
    for (int64_t k = 0; k < embedding.vectors; ++k) {
      const float* vector = &embedding.blocks[i].values[static_cast<size_t>(k * widths[i])];
      nearest.back().push_back(Nearest(vector, tables[i], vocabularies[i], count));
    }
  }
  return nearest;
}

}  // namespace neolog::cli
