// Any bytes as a pickle, by itself and as the pickle of an embedding file with 64 bytes of storage:
// no call, no crash, no memory beyond the limits.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/embedding/embedding.h"
#include "common/tensor_file/pickle.h"
#include "common/tensor_file/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto pickle = neolog::Pickle::Parse(bytes);
  if (!pickle.ok()) return 0;
  neolog::StoredZipWriter zip;
  zip.Add("archive/data.pkl", bytes);
  zip.Add("archive/data/0", std::string(64, '\x3f'));
  const auto embedding = neolog::ReadEmbedding(zip.Finish(), "fuzz.pt");
  if (embedding.ok() && embedding->Rows().size() > 64) std::abort();
  return 0;
}
