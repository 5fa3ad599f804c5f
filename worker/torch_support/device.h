#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace neolog::torch_support {

/// The device that `name` means: "cpu" or "cuda:N". InvalidArgument for another word,
/// FailedPrecondition for a CUDA device that this build or this machine does not have.
absl::StatusOr<c10::Device> SelectDevice(std::string_view name);

/// Bytes of memory of the device that `name` means, as far as this process may use it. Errors as
/// SelectDevice.
absl::StatusOr<int64_t> DeviceMemory(std::string_view name);

}  // namespace neolog::torch_support
