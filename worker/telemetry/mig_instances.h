#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace neolog::telemetry {

/// The UUIDs ("MIG-…") of every MIG instance of this host, in NVML's order: parts of GPUs that are
/// devices of their own. CUDA shows a process one of them, the first that CUDA_VISIBLE_DEVICES
/// names. Empty where there are none, and without NVML.
std::vector<std::string> MigInstances(const std::string& library = "libnvidia-ml.so.1");

/// Those that CUDA_VISIBLE_DEVICES lets this process use, in its order; all of them when it is not
/// set (null), none when it names something else.
std::vector<std::string> VisibleMigInstances(std::span<const std::string> all,
                                             const char* cuda_visible_devices);

/// Whether a device's name is that of a MIG instance.
bool IsMigInstance(std::string_view device);

}  // namespace neolog::telemetry
