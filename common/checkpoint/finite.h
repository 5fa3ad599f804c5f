#pragma once

#include <optional>
#include <string>

#include "common/tensor_file/tensor_file.h"

namespace neolog {

/// Whether a floating-point tensor holds a number that `type` cannot: "holds NaN or infinity", or
/// "holds 70000, beyond F16's 65504" (the sentence's end behind a name). One pass over the bytes,
/// as fast as memory.
std::optional<std::string> NotFinite(const TensorView& tensor, TensorType type);

}  // namespace neolog
