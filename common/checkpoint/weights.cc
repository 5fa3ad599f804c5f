#include "common/checkpoint/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace neolog {
namespace {

constexpr size_t kShownKeys = 10;
constexpr size_t kShownPrefixes = 5;

std::vector<int64_t> WithoutTrailingOnes(std::vector<int64_t> shape) {
  while (!shape.empty() && shape.back() == 1) shape.pop_back();
  return shape;
}

// Keys high in the tree say more than the many below them.
void SortByDepth(std::vector<std::string>* keys) {
  std::sort(keys->begin(), keys->end(), [](const std::string& a, const std::string& b) {
    const auto depth = [](const std::string& key) {
      return std::count(key.begin(), key.end(), '.');
    };
    return std::pair(depth(a), std::string_view(a)) < std::pair(depth(b), std::string_view(b));
  });
}

std::string Listed(const std::vector<std::string>& items, std::string_view separator) {
  const size_t shown = std::min(items.size(), kShownKeys);
  std::string text = fmt::format(
      "{}", fmt::join(items.begin(), items.begin() + static_cast<long>(shown), separator));
  if (shown < items.size()) text += fmt::format(" and {} more", items.size() - shown);
  return text;
}

}  // namespace

std::vector<int64_t> WeightSource::Shape() const {
  std::vector<int64_t> shape = view.shape;
  if (transposed) std::reverse(shape.begin(), shape.end());
  return shape;
}

WeightTable TableOf(const std::shared_ptr<const TensorFile>& file) {
  WeightTable table;
  for (const auto& [key, view] : file->tensors()) {
    table.emplace(key, WeightSource{.view = view, .key = key, .file = file});
  }
  return table;
}

absl::StatusOr<TensorView> SliceOf(const TensorView& view, int64_t index, int64_t count) {
  if (view.shape.empty() || view.shape[0] % count != 0) {
    return InvalidArgument(fmt::format("has shape [{}]; expected a first size that {} divides",
                                       fmt::join(view.shape, ", "), count));
  }
  TensorView slice = view;
  slice.shape[0] /= count;
  const size_t bytes = view.data.size() / static_cast<size_t>(count);
  slice.data = view.data.subspan(static_cast<size_t>(index) * bytes, bytes);
  return slice;
}

std::vector<std::string> FitWeights(const Shapes& shapes, const std::string& part,
                                    WeightTable* weights, std::vector<std::string>* unexpected) {
  std::vector<std::string> missing, wrong;
  for (const auto& [key, shape] : shapes) {
    const auto it = weights->find(key);
    if (it == weights->end()) {
      missing.push_back(key);
      continue;
    }
    WeightSource& source = it->second;
    if (source.Shape() == shape) continue;
    if (!source.transposed &&
        WithoutTrailingOnes(source.view.shape) == WithoutTrailingOnes(shape)) {
      source.view.shape = shape;
      continue;
    }
    wrong.push_back(fmt::format("'{}' has shape [{}], expected [{}]", key,
                                fmt::join(source.Shape(), ", "), fmt::join(shape, ", ")));
  }
  for (auto it = weights->begin(); it != weights->end();) {
    if (shapes.count(it->first) != 0) {
      ++it;
      continue;
    }
    unexpected->push_back(it->second.key);
    it = weights->erase(it);
  }
  std::vector<std::string> problems;
  if (!missing.empty()) {
    SortByDepth(&missing);
    for (std::string& key : missing) key = fmt::format("'{}'", key);
    problems.push_back(fmt::format("{}: {} of {} weights are missing: {}", part, missing.size(),
                                   shapes.size(), Listed(missing, ", ")));
  }
  if (!wrong.empty()) {
    problems.push_back(fmt::format("{}: weights do not fit: {}", part, Listed(wrong, "; ")));
  }
  return problems;
}

std::string SummariseKeys(const std::vector<std::string>& keys) {
  std::map<std::string, size_t> counts;
  for (const std::string& key : keys) {
    const size_t first = key.find('.');
    const size_t second = first == std::string::npos ? first : key.find('.', first + 1);
    ++counts[second == std::string::npos ? key : key.substr(0, second + 1)];
  }
  std::vector<std::pair<size_t, std::string>> sorted;
  for (const auto& [prefix, count] : counts) sorted.emplace_back(count, prefix);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> texts;
  for (const auto& [count, prefix] : sorted) {
    if (texts.size() == kShownPrefixes) break;
    texts.push_back(prefix.ends_with('.') ? fmt::format("{} below '{}'", count, prefix)
                                          : fmt::format("'{}'", prefix));
  }
  std::string text = fmt::format("{}", fmt::join(texts, ", "));
  if (sorted.size() > texts.size())
    text += fmt::format(", and others ({} keys in all)", keys.size());
  return text;
}

}  // namespace neolog
