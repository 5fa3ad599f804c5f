#include "common/text/bpe.h"

#include <fmt/format.h>

#include <queue>
#include <tuple>

#include "common/text/unicode.h"

namespace neolog {
namespace {

bool IsPrintableByte(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
         (byte >= 174 && byte <= 255);
}

}  // namespace

const std::array<std::string, 256>& ByteSymbols() {
  static const auto* const symbols = [] {
    auto* table = new std::array<std::string, 256>;
    char32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      AppendUtf8(IsPrintableByte(byte) ? static_cast<char32_t>(byte) : next++,
                 &(*table)[static_cast<size_t>(byte)]);
    }
    return table;
  }();
  return *symbols;
}

std::vector<std::string> ByteSymbolsInVocabularyOrder() {
  std::vector<std::string> order;
  for (bool printable : {true, false}) {
    for (int byte = 0; byte < 256; ++byte) {
      if (IsPrintableByte(byte) == printable)
        order.push_back(ByteSymbols()[static_cast<size_t>(byte)]);
    }
  }
  return order;
}

absl::StatusOr<Bpe> Bpe::Create(std::unordered_map<std::string, int64_t> vocabulary,
                                const std::vector<Merge>& merges) {
  Bpe bpe;
  bpe.vocabulary_ = std::move(vocabulary);
  const auto find = [&](const std::string& token, int64_t* id) {
    const auto it = bpe.vocabulary_.find(token);
    if (it != bpe.vocabulary_.end()) *id = it->second;
    return it != bpe.vocabulary_.end();
  };
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string& symbol = ByteSymbols()[byte];
    const std::string end = symbol + std::string(kWordEnd);
    if (!find(symbol, &bpe.inner_[byte]) || !find(end, &bpe.final_[byte])) {
      return InvalidArgument(
          fmt::format("the vocabulary lacks '{}' or '{}', the symbols of byte {}: expected a "
                      "byte-level CLIP vocabulary",
                      symbol, end, byte));
    }
  }
  uint32_t rank = 0;
  for (const auto& [left, right] : merges) {
    std::pair<int64_t, int64_t> pair;
    int64_t merged = 0;
    if (!find(left, &pair.first) || !find(right, &pair.second) || !find(left + right, &merged)) {
      return InvalidArgument(
          fmt::format("merge {} ('{}' and '{}') names or makes a token that the vocabulary lacks",
                      rank + 1, left, right));
    }
    bpe.merges_.try_emplace(pair, Target{rank++, merged});
  }
  return bpe;
}

void Bpe::Encode(std::string_view word, std::vector<int64_t>* ids) const {
  struct Symbol {
    int64_t id;
    int previous;
    int next;  // -1: none
    bool merged_away;
  };
  struct Candidate {
    uint32_t rank;
    int position;
    int64_t id;
    bool operator>(const Candidate& other) const {
      return std::tie(rank, position) > std::tie(other.rank, other.position);
    }
  };
  std::vector<Symbol> symbols(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    const bool last = i + 1 == word.size();
    symbols[i] = {last ? final_[byte] : inner_[byte], static_cast<int>(i) - 1,
                  last ? -1 : static_cast<int>(i) + 1, false};
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int position) {
    const Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.next < 0) return;
    const auto it = merges_.find({left.id, symbols[static_cast<size_t>(left.next)].id});
    if (it != merges_.end()) queue.push({it->second.rank, position, it->second.id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(static_cast<int>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.position)];
    if (left.merged_away || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const auto it = merges_.find({left.id, right.id});
    if (it == merges_.end() || it->second.id != best.id)
      continue;  // a neighbour has changed since it was offered
    left.id = best.id;
    left.next = right.next;
    right.merged_away = true;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.position;
    if (left.previous >= 0) offer(left.previous);
    offer(best.position);
  }
  for (int i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    ids->push_back(symbols[static_cast<size_t>(i)].id);
  }
}

}  // namespace neolog
