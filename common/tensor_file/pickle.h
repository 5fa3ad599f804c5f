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
#include "common/tensor_file/safetensors.h"

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
  int64_t integer = 0;  // kInt, kBool; kStorage: elements
  double number = 0;    // kFloat
  std::string text;     // kString; kGlobal: "module name"; kStorage, kTensor: the storage's key
  TensorType type = TensorType::kFloat32;  // kStorage, kTensor
  std::vector<PickleValue*>
      items;           // kList, kTuple; kDict: keys and values in turns; kObject: its state, if any
  int64_t offset = 0;  // kTensor, in elements
  std::vector<int64_t> shape, stride;  // kTensor, in elements
};

/// Reads the pickles that torch.save writes for plain values and tensors. Nothing is ever executed
/// or imported: an opcode outside the needed ones is refused, and so is every global that is not on
/// the list below, by name.
///
/// Globals: torch._utils _rebuild_tensor_v2 and _rebuild_parameter; collections OrderedDict; torch
/// Float-, Half-, BFloat16-, Double-, Long-, Int-, Short-, Char-, Byte- and BoolStorage;
/// torch.nn.modules.container ParameterDict, whose state is kept as data; __builtin__ (builtins)
/// set, which is read as a list.
///
/// Limits: 200,000 values and memo entries, 64 MB of text. Containers refer to values by pointer
/// and may be shared or even cyclic: walk them to a fixed depth.
class Pickle {
 public:
  /// DataLoss with the byte offset when the pickle is damaged; InvalidArgument names the global or
  /// opcode that is refused.
  static absl::StatusOr<std::unique_ptr<Pickle>> Parse(std::string_view bytes);

  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleReader;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
};

/// The value of a text key in a dictionary (the last one, as Python has it), or null. Also null
/// when `dict` is none.
const PickleValue* FindInDict(const PickleValue& dict, std::string_view key);

/// A file of torch.save (torch 1.6 or newer): a zip archive with one pickle and the storages'
/// bytes.
class TorchFile {
 public:
  /// `bytes` must outlive the object. Errors as those of ReadStoredZip and Pickle::Parse; a file of
  /// an older torch is refused with the advice to save it again.
  static absl::StatusOr<std::unique_ptr<TorchFile>> Parse(std::string_view bytes);

  const PickleValue& root() const { return pickle_->root(); }
  /// The elements of a floating-point tensor in row-major order, as float32. DataLoss when it
  /// reaches outside its storage or the storage is missing or has another size than the pickle
  /// says.
  absl::StatusOr<std::vector<float>> Floats(const PickleValue& tensor) const;

 private:
  std::map<std::string, std::string_view> members_;
  std::string folder_;
  std::unique_ptr<Pickle> pickle_;
};

}  // namespace neolog
