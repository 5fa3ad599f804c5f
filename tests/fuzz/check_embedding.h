#pragma once

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "common/embedding/embedding.h"

namespace neolog::fuzz {

/// Any bytes as an embedding file: refused, or written in every format that fits, and read again
/// with the same bits.
inline void CheckEmbedding(std::string_view bytes) {
  auto embedding = ReadEmbedding(bytes, "fuzz.pt");
  if (!embedding.ok()) return;
  embedding->name = "fuzz";            // others may mean something in a format
  embedding->checkpoint_hash.reset();  // may hold text that is not UTF-8
  embedding->checkpoint_name.reset();
  const std::vector<float> rows = embedding->Rows();
  for (const EmbeddingFormatFacts& facts : kEmbeddingFormats) {
    if (!FormatProblem(facts.format, embedding->blocks.size()).empty()) continue;
    // A picture with many rows takes long and has a limit of its own.
    if (facts.format == EmbeddingFormat::kPng && rows.size() > 1000) continue;
    const auto written = WriteEmbedding(*embedding, facts.format);
    if (!written.ok()) std::abort();
    const auto again = ReadEmbedding(*written, "again");
    if (!again.ok() || again->vectors != embedding->vectors ||
        again->Widths() != embedding->Widths() ||
        std::memcmp(again->Rows().data(), rows.data(), rows.size() * sizeof(float)) != 0) {
      std::abort();
    }
  }
}

}  // namespace neolog::fuzz
