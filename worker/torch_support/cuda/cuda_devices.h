#pragma once

#include "common/base/status.h"

namespace neolog::torch_support {

/// True when the program was built with NEOLOG_CUDA=ON.
bool CompiledWithCuda();

/// CUDA devices of this machine, at least 1. FailedPrecondition says what is missing: a build with
/// CUDA, a driver, or a device.
absl::StatusOr<int> CudaDeviceCount();

}  // namespace neolog::torch_support
