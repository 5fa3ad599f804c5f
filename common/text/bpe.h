#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// CLIP's byte-level byte-pair encoding: a word's bytes are symbols, the last one marked with </w>,
/// and neighbours merge by rank, lowest first, leftmost among equals. Immutable; safe for use from
/// any thread.
class Bpe {
 public:
  using Merge = std::pair<std::string, std::string>;

  /// `merges` in rank order; where one is listed twice the first counts. InvalidArgument when the
  /// vocabulary lacks one of the 512 byte symbols or a token that a merge names or makes.
  static absl::StatusOr<Bpe> Create(std::unordered_map<std::string, int64_t> vocabulary,
                                    const std::vector<Merge>& merges);

  /// Appends the ids of one word (as the pre-tokenizer cuts them; any bytes). Time is n log n.
  void Encode(std::string_view word, std::vector<int64_t>* ids) const;

  /// Tokens by their text in the vocabulary file.
  const std::unordered_map<std::string, int64_t>& vocabulary() const { return vocabulary_; }

 private:
  struct Target {
    uint32_t rank;
    int64_t id;
  };
  struct PairHash {
    size_t operator()(const std::pair<int64_t, int64_t>& pair) const {
      return static_cast<uint64_t>(pair.first) * 0x9e3779b97f4a7c15u ^
             static_cast<uint64_t>(pair.second);
    }
  };

  std::unordered_map<std::string, int64_t> vocabulary_;
  std::unordered_map<std::pair<int64_t, int64_t>, Target, PairHash> merges_;
  std::array<int64_t, 256> inner_{};  // a byte inside a word
  std::array<int64_t, 256> final_{};  // a byte at its end
};

/// What ends a word's last symbol.
inline constexpr std::string_view kWordEnd = "</w>";

/// The printable characters that stand for the bytes 0…255 in vocabulary files, in UTF-8 (GPT-2's
/// table).
const std::array<std::string, 256>& ByteSymbols();

/// Those characters in the order in which CLIP numbers them: printable bytes first.
std::vector<std::string> ByteSymbolsInVocabularyOrder();

}  // namespace neolog
