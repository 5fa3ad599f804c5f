#include "common/checkpoint/key_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

namespace neolog {
namespace {

constexpr int64_t kMaxNumber = 9999;  // no model has as many blocks

using Numbers = std::map<std::string, int64_t, std::less<>>;

std::optional<int64_t> TakeNumber(std::string_view* text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || value > kMaxNumber || text->front() == '-') return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return value;
}

// What follows the match, and the numbers in it.
std::optional<std::string_view> Match(std::string_view pattern, std::string_view key,
                                      Numbers* numbers) {
  const bool whole = !pattern.empty() && pattern.back() != '.';
  while (!pattern.empty()) {
    if (pattern.front() == '{') {
      const size_t close = pattern.find('}');
      if (key.empty()) return std::nullopt;
      const auto number = TakeNumber(&key);
      if (!number) return std::nullopt;
      (*numbers)[std::string(pattern.substr(1, close - 1))] = *number;
      pattern.remove_prefix(close + 1);
      continue;
    }
    if (key.empty() || key.front() != pattern.front()) return std::nullopt;
    key.remove_prefix(1);
    pattern.remove_prefix(1);
  }
  if (whole && !key.empty()) return std::nullopt;
  return key;
}

void Derive(const KeyLayout& layout, Numbers* numbers) {
  const int64_t stride = layout.unet_layers + 1;
  const auto set = [&](const char* name, auto level, auto place) {
    const auto it = numbers->find(name);
    if (it == numbers->end()) return;
    const int64_t n = it->second;
    if (const auto value = level(n)) numbers->insert_or_assign("level", *value);
    if (const auto value = place(n)) numbers->insert_or_assign("place", *value);
  };
  using Value = std::optional<int64_t>;
  const auto none = [](int64_t) { return Value(); };
  // Input block 0 is conv_in.
  set(
      "in", [&](int64_t n) { return Value((n - 1) / stride); },
      [&](int64_t n) { return Value((n - 1) % stride); });
  set(
      "out", [&](int64_t n) { return Value(n / stride); },
      [&](int64_t n) { return Value(n % stride); });
  set(
      "up", [&](int64_t n) { return Value(layout.vae_levels - 1 - n); }, none);
  set("mid", none, [](int64_t n) { return Value(n - 1); });
}

// Empty when a number that the template needs is missing or out of range.
std::optional<std::string> Fill(std::string_view pattern, const Numbers& numbers) {
  std::string text;
  while (!pattern.empty()) {
    if (pattern.front() != '{') {
      text += pattern.front();
      pattern.remove_prefix(1);
      continue;
    }
    const size_t close = pattern.find('}');
    const auto it = numbers.find(pattern.substr(1, close - 1));
    if (it == numbers.end() || it->second < 0) return std::nullopt;
    text += std::to_string(it->second);
    pattern.remove_prefix(close + 1);
  }
  return text;
}

absl::StatusOr<WeightSource> Read(const WeightSource& source, Reading reading) {
  WeightSource result = source;
  switch (reading) {
    case Reading::kAsIs: return result;
    case Reading::kTransposed: result.transposed = true; return result;
    case Reading::kFirstThird:
    case Reading::kSecondThird:
    case Reading::kLastThird: break;
  }
  const int64_t index = static_cast<int64_t>(reading) - static_cast<int64_t>(Reading::kFirstThird);
  auto slice = SliceOf(source.view, index, 3);
  if (!slice.ok()) return Annotate(slice.status(), fmt::format("'{}'", source.key));
  result.view = *std::move(slice);
  return result;
}

// One more than the largest number right behind `prefix`.
int64_t CountBelow(const WeightTable& table, const std::string& prefix) {
  int64_t count = 0;
  for (auto it = table.lower_bound(prefix); it != table.end() && it->first.starts_with(prefix);
       ++it) {
    std::string_view rest = std::string_view(it->first).substr(prefix.size());
    if (const auto number = rest.empty() ? std::nullopt : TakeNumber(&rest))
      count = std::max(count, *number + 1);
  }
  return count;
}

}  // namespace

std::vector<RenamedKey> Rename(const KeyRules& rules, const KeyLayout& layout,
                               std::string_view key) {
  std::vector<RenamedKey> result;
  std::string_view matched;
  for (const KeyRule& rule : rules) {
    if (!result.empty() && rule.from != matched) break;
    Numbers numbers;
    const auto rest = Match(rule.from, key, &numbers);
    if (!rest) continue;
    matched = rule.from;
    Derive(layout, &numbers);
    const auto to = Fill(rule.to, numbers);
    if (!to) return {};
    if (rule.inside == nullptr) {
      result.push_back({*to + std::string(*rest), rule.reading});
      continue;
    }
    for (const RenamedKey& inner : Rename(*rule.inside, layout, *rest)) {
      result.push_back({*to + inner.key, inner.reading});
    }
    if (result.empty()) return {};
  }
  return result;
}

absl::StatusOr<WeightTable> RenameAll(const WeightTable& table, std::string_view prefix,
                                      const KeyRules& rules, const KeyLayout& layout,
                                      std::vector<std::string>* unexpected) {
  WeightTable result;
  for (auto it = table.lower_bound(std::string(prefix));
       it != table.end() && it->first.starts_with(prefix); ++it) {
    const auto names = Rename(rules, layout, std::string_view(it->first).substr(prefix.size()));
    if (names.empty()) unexpected->push_back(it->first);
    for (const RenamedKey& name : names) {
      ASSIGN_OR_RETURN(WeightSource source, Read(it->second, name.reading));
      const auto [old, inserted] = result.try_emplace(name.key, std::move(source));
      if (!inserted) {
        return InvalidArgument(fmt::format("'{}' and '{}' are the same weight ('{}')",
                                           old->second.key, it->first, name.key));
      }
    }
  }
  return result;
}

KeyLayout LayoutOf(const WeightTable& table, std::string_view unet_prefix,
                   std::string_view vae_prefix) {
  KeyLayout layout;
  const std::string input = std::string(unet_prefix) + "input_blocks.";
  const int64_t blocks = CountBelow(table, input);
  // The first level ends with a downsampling convolution, the last one has none.
  layout.unet_layers = std::max<int64_t>(blocks - 1, 1);
  for (int64_t b = 1; b < blocks; ++b) {
    const std::string op = fmt::format("{}{}.0.op.", input, b);
    const auto it = table.lower_bound(op);
    if (it == table.end() || !it->first.starts_with(op)) continue;
    layout.unet_layers = std::max<int64_t>(b - 1, 1);
    break;
  }
  layout.vae_levels = CountBelow(table, std::string(vae_prefix) + "decoder.up.");
  return layout;
}

}  // namespace neolog
