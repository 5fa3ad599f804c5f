#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/tensor_file/pickle.h"
#include "common/tensor_file/tensor_file.h"

namespace neolog {

/// A file of torch.save: a zip archive with one pickle and the storages' bytes, or, from torch
/// before 1.6, pickles with the storages behind them.
class TorchFile {
 public:
  /// How much of an archive is checked: everything, or all but the checksums of its members, which
  /// cost reading it whole.
  enum class Checks { kAll, kNoChecksums };

  /// Whether `bytes` begin as torch.save's files do.
  static bool IsOne(std::string_view bytes);

  /// `bytes` must outlive the object. Errors as those of ReadStoredZip and Pickle::Parse.
  static absl::StatusOr<std::unique_ptr<TorchFile>> Parse(std::string_view bytes,
                                                          Checks checks = Checks::kAll);

  const PickleValue& root() const { return pickle_->root(); }
  /// The elements of a floating-point tensor in row-major order, as float32. DataLoss when it
  /// reaches outside its storage or the storage is missing or has another size than the pickle
  /// says.
  absl::StatusOr<std::vector<float>> Floats(const PickleValue& tensor) const;

  /// The tensor where it lies in the file when it is row-major there, with `copy` left empty;
  /// otherwise in `copy`, which must outlive the view. Errors as Floats; also InvalidArgument for
  /// element types that TensorType does not have.
  absl::StatusOr<TensorView> View(const PickleValue& tensor, std::string* copy) const;

 private:
  absl::Status ParseZip(std::string_view bytes, Checks checks);
  absl::Status ParseLegacy(std::string_view bytes);
  /// The storage's bytes, and whether the tensor fits in.
  absl::StatusOr<std::string_view> StorageOf(const PickleValue& tensor) const;

  std::unique_ptr<Pickle> pickle_;
  std::map<std::string, std::string_view> storages_;  // by key
};

/// The tensors of a state dict in a torch file: of the dictionary at its root, or of the one under
/// "state_dict" there, as Lightning writes it. Other entries are left out; texts and numbers at the
/// root become metadata. InvalidArgument when there is no dictionary with tensors in it.
///
/// `checks` as for TorchFile::Parse; `owner`, which `bytes` lie in, is kept.
absl::StatusOr<std::unique_ptr<TensorFile>> OpenStateDict(std::string_view bytes,
                                                          TorchFile::Checks checks,
                                                          std::shared_ptr<const void> owner);

}  // namespace neolog
