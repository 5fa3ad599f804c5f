// Any bytes as an embedding file: refused, or read and written in both formats with the same
// contents.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/embedding/embedding.h"
#include "common/tensor_file/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto members = neolog::ReadStoredZip(bytes);
  if (members.ok()) {
    size_t total = 0;
    for (const auto& [name, contents] : *members) total += contents.size();
    if (total > size) std::abort();  // members would overlap
  }
  const auto embedding = neolog::ReadEmbedding(bytes, "fuzz.pt");
  if (!embedding.ok()) return 0;
  for (const auto format : {neolog::EmbeddingFormat::kA1111, neolog::EmbeddingFormat::kDiffusers}) {
    const auto written = neolog::WriteEmbedding(*embedding, format);
    if (!written.ok()) {
      if (embedding->name == "__metadata__" && format == neolog::EmbeddingFormat::kDiffusers)
        continue;
      if (embedding->checkpoint_hash || embedding->checkpoint_name)
        continue;  // may hold text that is not UTF-8
      std::abort();
    }
    const auto again = neolog::ReadEmbedding(*written, "again");
    if (!again.ok() || again->values != embedding->values || again->vectors != embedding->vectors)
      std::abort();
  }
  return 0;
}
