// Any bytes as an embedding file: refused, or read and written in every format with the same
// contents.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/tensor_file/zip.h"
#include "tests/fuzz/check_embedding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto members = neolog::ReadStoredZip(bytes);
  if (members.ok()) {
    size_t total = 0;
    for (const auto& [name, contents] : *members) total += contents.size();
    if (total > size) std::abort();  // members would overlap
  }
  neolog::fuzz::CheckEmbedding(bytes);
  return 0;
}
