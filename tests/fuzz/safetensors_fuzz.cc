// Any bytes as a safetensors file: refused, or read and written again with the same contents.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      neolog::SafetensorsFile::Parse({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!file.ok()) {
    if (file.status().message().find("byte") == absl::string_view::npos) std::abort();
    return 0;
  }
  const auto bytes = neolog::SerializeSafetensors((*file)->tensors(), (*file)->metadata());
  if (!bytes.ok()) std::abort();
  const auto again = neolog::SafetensorsFile::Parse(*bytes, "again");
  if (!again.ok() || (*again)->metadata() != (*file)->metadata()) std::abort();
  for (const auto& [name, tensor] : (*file)->tensors()) {
    const auto& copy = (*again)->tensors().at(name);
    if (copy.type != tensor.type || copy.shape != tensor.shape ||
        !std::equal(copy.data.begin(), copy.data.end(), tensor.data.begin(), tensor.data.end())) {
      std::abort();
    }
    const auto floats = neolog::ToFloat32(tensor);
    if (floats.ok() && floats->size() * SizeOf(tensor.type) != tensor.data.size()) std::abort();
  }
  return 0;
}
