#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// Element types of a tensor file, as the safetensors format names them.
enum class TensorType {
  kBool,
  kUint8,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64
};

/// Bytes of one element.
size_t SizeOf(TensorType type);
/// "F32", "BF16", … as in a safetensors header.
std::string_view NameOf(TensorType type);

/// A tensor in somebody else's memory: row-major, little-endian.
struct TensorView {
  TensorType type = TensorType::kFloat32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

/// Named tensors of an open file. Views stay valid while the object lives. Safe for use from any
/// thread.
class TensorFile {
 public:
  /// Opens a file of weights by what it holds, whatever it is called. Errors name the path and the
  /// byte offset.
  static absl::StatusOr<std::unique_ptr<TensorFile>> Open(const std::string& path);

  virtual ~TensorFile() = default;
  /// Tensors by name.
  virtual const std::map<std::string, TensorView>& tensors() const = 0;
  /// Texts that the file carries beside its tensors (`__metadata__` of a safetensors file).
  virtual const std::map<std::string, std::string>& metadata() const = 0;
};

}  // namespace neolog
