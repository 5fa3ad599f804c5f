#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/tensor_file/tensor_file.h"

namespace neolog {

/// A value of a pickle. Lists, tuples and dictionaries refer to values that their Pickle owns.
struct PickleValue {
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kList,
    kTuple,
    kDict,
    kGlobal,
    kStorage,
    kTensor,
    kObject,
    kMark
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;  // kInt, kBool; kStorage, kTensor: elements of the storage
  double number = 0;    // kFloat
  std::string text;  // kString (or bytes); kGlobal, kObject: "module name"; kStorage, kTensor: the
                     // storage's key
  TensorType type = TensorType::kFloat32;  // kStorage, kTensor
  /// Of kStorage and kTensor: whether `type` is one of TensorType at all. 8-bit floats are not.
  bool has_type = true;
  std::vector<PickleValue*>
      items;           // kList, kTuple; kDict: keys and values in turns; kObject: its state, if any
  int64_t offset = 0;  // kStorage: where a view begins; kTensor: of the first; in elements
  std::vector<int64_t> shape, stride;  // kTensor, in elements
};

/// Reads the pickles that torch.save writes (protocols 2 to 5). Nothing is ever executed or
/// imported: tensors, storages and plain containers are understood, every other class and call
/// becomes an object whose arguments or state are kept as data, and names that only an attack needs
/// are refused (pickle_globals.h says which, and why).
///
/// Limits: 500,000 values and memo entries, 2,000,000 references, 64 MB of text. Containers refer
/// to values by pointer and may be shared or even cyclic: walk them to a fixed depth.
class Pickle {
 public:
  /// Reads one pickle from the beginning of `bytes`; what follows its STOP is left alone. DataLoss
  /// with the byte offset when it is damaged; InvalidArgument names what is refused.
  static absl::StatusOr<std::unique_ptr<Pickle>> Parse(std::string_view bytes);

  const PickleValue& root() const { return *root_; }
  /// Bytes that the pickle took.
  size_t size() const { return size_; }
  /// Every storage that the pickle speaks of, by its key.
  const std::map<std::string, const PickleValue*>& storages() const { return storages_; }

 private:
  friend class PickleReader;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
  size_t size_ = 0;
  std::map<std::string, const PickleValue*> storages_;
};

/// The value of a text key in a dictionary (the last one, as Python has it), or null. Also null
/// when `dict` is none.
const PickleValue* FindInDict(const PickleValue& dict, std::string_view key);

}  // namespace neolog
