#include "coordinator/cli/nearest_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/tensor_file/half.h"

namespace neolog::cli {
namespace {

constexpr char kTable[] = "text_model.embeddings.token_embedding.weight";

/// [tokens, width] row-major.
struct Table {
  int64_t width = 0;
  std::vector<float> values;
};

/// The token embeddings of a text encoder.
absl::StatusOr<Table> ReadTable(const CheckpointPart& encoder) {
  const auto found = encoder.weights.find(kTable);
  if (found == encoder.weights.end())
    return NotFound(fmt::format("the model's {} has no '{}'", encoder.name, kTable));
  Table table;
  table.width = found->second.view.shape[1];
  ASSIGN_OR_RETURN_WITH(table.values, ToFloat32(found->second.view),
                        fmt::format("'{}' of {}", kTable, encoder.name));
  return table;
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
    const Embedding& embedding, const std::string& model, size_t count,
    const std::string& file_name) {
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(model, {}));
  ASSIGN_OR_RETURN(const auto tokenizers, LoadTokenizers(checkpoint));
  std::vector<Table> tables;
  std::vector<int64_t> widths;
  std::vector<std::vector<std::string>> vocabularies;
  for (size_t i = 0; i < checkpoint.text_encoders.size(); ++i) {
    ASSIGN_OR_RETURN(Table table, ReadTable(checkpoint.text_encoders[i]));
    widths.push_back(table.width);
    tables.push_back(std::move(table));
    vocabularies.push_back(tokenizers[i]->TokenTexts());
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
