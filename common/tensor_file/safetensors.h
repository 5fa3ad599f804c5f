#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/tensor_file/tensor_file.h"

namespace neolog {

/// An open safetensors file, mapped into memory (read-only, private). Views stay valid while the
/// object lives. Format: https://github.com/huggingface/safetensors ; a little-endian u64 with the
/// header's length, a JSON header, raw data. Safe for use from any thread.
class SafetensorsFile : public TensorFile {
 public:
  /// Opens and checks the whole header: size cap (100 MB, and never beyond the file), JSON depth,
  /// duplicate keys, known dtypes, size = dtype x shape without overflow, offsets in order, without
  /// gaps or overlaps, ending at the end of the file. A file that fails is refused in constant
  /// memory; DataLoss names the byte offset, NotFound the path.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  /// The same for bytes in memory, which must outlive the object. `name` is for messages.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(std::string_view bytes,
                                                                std::string_view name);
};

/// The bytes of a safetensors file: metadata and tensors in name order, data aligned to eight
/// bytes. InvalidArgument when a view's size is not dtype x shape.
absl::StatusOr<std::string> SerializeSafetensors(
    const std::map<std::string, TensorView>& tensors,
    const std::map<std::string, std::string>& metadata);

}  // namespace neolog
