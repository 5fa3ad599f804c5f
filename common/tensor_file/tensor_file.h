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
  /// Maps a file of weights and opens it by what it holds, whatever it is called: safetensors, or
  /// the state dict of a torch.save file, new or old (.ckpt, .pt, .bin; see OpenStateDict). Views
  /// lie in the mapping but for tensors that are not row-major there. Headers are checked as
  /// SafetensorsFile and TorchFile say, an archive's checksums are not. Errors name the path and
  /// the byte offset, or what the file is instead.
  static absl::StatusOr<std::unique_ptr<TensorFile>> Open(const std::string& path);
  /// The same for bytes in memory, which must outlive the object, with checksums. `name` is for
  /// messages.
  static absl::StatusOr<std::unique_ptr<TensorFile>> Parse(std::string_view bytes,
                                                           std::string_view name);

  virtual ~TensorFile() = default;
  /// Tensors by name.
  virtual const std::map<std::string, TensorView>& tensors() const = 0;
  /// Texts that the file carries beside its tensors (`__metadata__` of a safetensors file).
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  /// The mapping that views lie in, whose pages the kernel may drop and read again; empty when the
  /// file was parsed in memory. Views outside of it are copies.
  virtual std::string_view mapped() const { return {}; }
};

}  // namespace neolog
