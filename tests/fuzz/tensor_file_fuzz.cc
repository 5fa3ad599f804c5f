// Any bytes as a file of weights: refused, or tensors that lie in the file, or are copies no larger
// than it.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/tensor_file/tensor_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto file = neolog::TensorFile::Parse(bytes, "fuzz");
  if (!file.ok()) return 0;
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  size_t copied = 0;
  unsigned sum = 0;
  for (const auto& [name, view] : (*file)->tensors()) {
    size_t count = neolog::SizeOf(view.type);
    for (const int64_t dimension : view.shape) count *= static_cast<size_t>(dimension);
    if (view.data.size() != count) std::abort();
    const bool inside = view.data.data() >= begin && view.data.data() + count <= begin + size;
    if (!inside) copied += count;
    for (const std::byte b : view.data) sum += static_cast<unsigned>(b);
  }
  if (copied > size) std::abort();
  return sum == 1 ? 1 : 0;
}
