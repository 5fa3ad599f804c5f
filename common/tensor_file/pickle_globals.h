#pragma once

#include <string_view>

#include "common/tensor_file/tensor_file.h"

namespace neolog {

/// What a pickle's name "module name" means to a reader that executes nothing.
enum class PickleGlobal {
  /// A storage of elements: torch.FloatStorage and its like.
  kStorage,
  /// torch._utils._rebuild_tensor and its versions 2 and 3.
  kRebuildTensor,
  /// Functions that wrap a tensor that stands first among their arguments (_rebuild_parameter), or
  /// rebuild one with the arguments that stand third (_rebuild_from_type_v2).
  kRebuildParameter,
  kRebuildFromType,
  /// Containers of Python.
  kDict,
  kSet,
  kTuple,
  /// Runs code, opens files or connections, or reaches for attributes by name.
  kRefused,
  /// Anything else: kept as a name, its calls as data.
  kInert,
};

/// The meaning of `module`.`name`.
///
/// Whoever only reads data could take every unknown name as data, and this reader does so for the
/// classes that training programs leave in checkpoints. Names that a file of weights never needs
/// but an attack does (os.system, eval, getattr, …) are refused all the same: the file would harm
/// the next program that loads it, and its user should know.
PickleGlobal MeaningOf(std::string_view module, std::string_view name);

/// The element type of a kStorage global; false when there is none here (8-bit floats, complex
/// numbers).
bool StorageTypeOf(std::string_view name, TensorType* type);

}  // namespace neolog
