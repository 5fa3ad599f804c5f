#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/weights.h"

namespace neolog::torch_support {

/// The weights of one part of a model, by checkpoint key. The file stays mapped while any tensor
/// over it lives. Building a model reads every key once through WeightReader, which collects what
/// is wrong; Finish then reports all of it.
///
/// One thread.
class WeightMap {
 public:
  /// The weights of a model's part: tensors over the bytes of its files, without a copy where the
  /// bytes are aligned and not transposed. `name` stands in messages.
  static absl::StatusOr<std::unique_ptr<WeightMap>> OfTable(const WeightTable& table,
                                                            std::string name);
  /// Maps a file of tensors. Errors as TensorFile::Open.
  static absl::StatusOr<std::unique_ptr<WeightMap>> Open(const std::string& path);
  /// The same of tensors in memory, for tests and generated weights. `name` stands in messages.
  static std::unique_ptr<WeightMap> Of(std::map<std::string, at::Tensor> tensors, std::string name);

  const std::string& name() const { return name_; }
  bool Has(const std::string& key) const { return tensors_.count(key) != 0; }
  /// True when any key starts with `prefix`.
  bool HasPrefix(const std::string& prefix) const;
  /// A key's shape; empty when the key is missing.
  std::vector<int64_t> ShapeOf(const std::string& key) const;

  /// The tensor under `key`, as it lies in the file. An undefined tensor, and an error kept for
  /// Finish, when the key is missing, the shape differs or the type is not a floating one.
  at::Tensor Take(const std::string& key, at::IntArrayRef shape);
  /// Every key that Take was asked for, with the expected shape: what a configuration needs.
  const std::map<std::string, std::vector<int64_t>>& asked() const { return asked_; }
  /// Gives back the memory that the file's pages below `tensor` take in this process: for a tensor
  /// that was copied and will not be read soon. Reading it again costs a page fault each 4 KB.
  void Release(const at::Tensor& tensor) const;
  /// Keeps an error for Finish.
  void AddError(std::string message);

  /// OK when every Take succeeded and every key was taken, except those for which a suffix in
  /// `ignored_suffixes` matches. Otherwise InvalidArgument with the file and up to ten problems.
  absl::Status Finish(const std::vector<std::string>& ignored_suffixes) const;

 private:
  WeightMap() = default;

  std::string name_;
  std::set<const void*> mapped_;  // where tensors lie that are pages of a file
  std::map<std::string, at::Tensor> tensors_;
  std::map<std::string, std::vector<int64_t>> asked_;
  std::vector<std::string> errors_;
};

/// A place in the tree of weights: a prefix, and the type and device that weights are brought to.
/// Blocks are built by handing each child `reader / "to_q"`. Cheap to copy; the WeightMap must
/// outlive it.
class WeightReader {
 public:
  WeightReader(WeightMap& weights, at::ScalarType dtype, c10::Device device)
      : weights_(&weights), dtype_(dtype), device_(device) {}

  /// The reader of a child: "down_blocks" / "0" reads keys below "down_blocks.0.".
  WeightReader operator/(std::string_view child) const;
  WeightReader operator/(int64_t index) const { return *this / std::to_string(index); }
  /// The same place, other type.
  WeightReader As(at::ScalarType dtype) const;

  /// The weight `name` here. Already of the right type and on the right device: without a copy
  /// (unless it lies at no multiple of 16 bytes: bits must not depend on its place in a file), and
  /// without a look at its numbers (a run that meets a NaN stops by itself, and reading all of a
  /// mapped model would cost more than starting with it). A weight that is cast or moved is
  /// checked: NaN, infinity or a number that the type cannot hold is an error for Finish. Undefined
  /// when something is wrong (see WeightMap::Take): nothing may be computed before Finish said OK.
  at::Tensor Get(std::string_view name, at::IntArrayRef shape) const;
  bool Has(std::string_view name) const { return weights_->Has(Key(name)); }
  std::vector<int64_t> ShapeOf(std::string_view name) const { return weights_->ShapeOf(Key(name)); }
  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }

  WeightMap& weights() const { return *weights_; }
  at::ScalarType dtype() const { return dtype_; }
  c10::Device device() const { return device_; }

 private:
  WeightMap* weights_;
  at::ScalarType dtype_;
  c10::Device device_;
  std::string prefix_;
};

}  // namespace neolog::torch_support
