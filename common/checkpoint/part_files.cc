#include "common/checkpoint/part_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

namespace neolog {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr uintmax_t kMaxTextBytes = 16 << 20;
constexpr size_t kMaxShards = 1000;
constexpr std::string_view kVariants[] = {"", "fp16", "bf16", "fp32", "non_ema"};

// One candidate; candidates compare in the order of preference.
struct Candidate {
  bool pickle = false;
  bool sharded = false;
  size_t variant_rank = 0;
  std::string variant;
  size_t stem = 0;
  std::string name;
  auto operator<=>(const Candidate&) const = default;
};

bool TakePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}
bool TakeSuffix(std::string_view* text, std::string_view suffix) {
  if (!text->ends_with(suffix)) return false;
  text->remove_suffix(suffix.size());
  return true;
}

// "STEM[.VARIANT].safetensors", "STEM[.VARIANT].bin", "STEM.safetensors.index[.VARIANT].json",
// "STEM.bin.index[.VARIANT].json".
std::optional<Candidate> Parse(std::string_view name, const std::vector<std::string>& stems) {
  Candidate result;
  result.name = name;
  for (; result.stem < stems.size(); ++result.stem) {
    std::string_view rest = name;
    if (!TakePrefix(&rest, stems[result.stem]) || rest.empty() || rest.front() != '.') continue;
    if (TakeSuffix(&rest, ".json")) {
      result.sharded = true;
      if (!TakePrefix(&rest, ".safetensors.index")) {
        if (!TakePrefix(&rest, ".bin.index")) continue;
        result.pickle = true;
      }
    } else if (!TakeSuffix(&rest, ".safetensors")) {
      if (!TakeSuffix(&rest, ".bin")) continue;
      result.pickle = true;
    }
    if (!rest.empty()) rest.remove_prefix(1);
    // A shard has its number where a variant would stand: "model.fp16-00001-of-00002".
    if (rest.find("-of-") != std::string_view::npos) continue;
    result.variant = rest;
    const auto* known = std::find(std::begin(kVariants), std::end(kVariants), rest);
    result.variant_rank = static_cast<size_t>(known - std::begin(kVariants));
    return result;
  }
  return std::nullopt;
}

absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object() || map->empty()) {
    return DataLoss(
        fmt::format("'{}': expected an object \"weight_map\" from keys to files", path));
  }
  std::map<std::string, std::string> shards;
  for (const auto& [key, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      return InvalidArgument(
          fmt::format("'{}': \"weight_map\" has {} for '{}'; expected the name of a file in the "
                      "same folder",
                      path, file.dump(), key));
    }
    shards[key] = name;
  }
  return shards;
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return NotFound(fmt::format("'{}' cannot be read: {}", path, error.message()));
  if (size > kMaxTextBytes)
    return InvalidArgument(fmt::format("'{}' has {} bytes: no configuration", path, size));
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.good() && !in.eof()) return DataLoss(fmt::format("'{}' cannot be read", path));
  return text;
}

absl::StatusOr<PartFiles> FindPartFiles(const std::string& folder,
                                        const std::vector<std::string>& stems) {
  std::vector<Candidate> candidates;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (const auto one = Parse(entry.path().filename().string(), stems)) candidates.push_back(*one);
  }
  if (candidates.empty()) {
    return NotFound(
        fmt::format("'{}' has no weights; expected '{}.safetensors' (or a variant such "
                    "as '{}.fp16.safetensors', an index with shards, or a .bin file)",
                    folder, stems[0], stems[0]));
  }
  const Candidate chosen = *std::min_element(candidates.begin(), candidates.end());
  PartFiles files;
  files.sharded = chosen.sharded;
  files.paths.push_back((fs::path(folder) / chosen.name).string());
  if (!chosen.sharded) return files;
  ASSIGN_OR_RETURN(const auto shards, ReadIndex(files.paths[0]));
  std::set<std::string> names;
  for (const auto& [key, name] : shards) names.insert(name);
  if (names.size() > kMaxShards)
    return InvalidArgument(fmt::format("'{}' names {} files", files.paths[0], names.size()));
  for (const std::string& name : names) {
    files.paths.push_back((fs::path(folder) / name).string());
    if (!fs::exists(files.paths.back(), error)) {
      return NotFound(fmt::format("'{}' is missing, which '{}' names: download it, too",
                                  files.paths.back(), files.paths[0]));
    }
  }
  return files;
}

absl::StatusOr<WeightTable> OpenPartFiles(const PartFiles& files) {
  if (!files.sharded) {
    ASSIGN_OR_RETURN(std::shared_ptr<const TensorFile> file, TensorFile::Open(files.paths.at(0)));
    return TableOf(file);
  }
  ASSIGN_OR_RETURN(const auto shards, ReadIndex(files.paths.at(0)));
  std::map<std::string, WeightTable> tables;
  for (size_t i = 1; i < files.paths.size(); ++i) {
    ASSIGN_OR_RETURN(std::shared_ptr<const TensorFile> file, TensorFile::Open(files.paths[i]));
    tables[fs::path(files.paths[i]).filename().string()] = TableOf(file);
  }
  WeightTable result;
  for (const auto& [key, name] : shards) {
    const auto table = tables.find(name);
    const auto source =
        table == tables.end() ? WeightTable::const_iterator() : table->second.find(key);
    if (table == tables.end() || source == table->second.end()) {
      return DataLoss(
          fmt::format("'{}': '{}' should be in '{}' but is not", files.paths[0], key, name));
    }
    result.emplace(key, source->second);
  }
  return result;
}

}  // namespace neolog
