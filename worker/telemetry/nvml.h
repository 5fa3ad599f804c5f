#pragma once

#include <memory>
#include <string>

#include "common/base/status.h"
#include "worker/telemetry/device_telemetry.h"

namespace neolog::telemetry {

/// A GPU through NVML, NVIDIA's management library, which comes with the driver and is loaded here.
/// `pci_bus_id` is the device's as CUDA names it ("0000:3b:00.0"): NVML's own order may be another.
/// NotFound without the library; FailedPrecondition when it knows no such device.
absl::StatusOr<std::unique_ptr<DeviceTelemetry>> OpenNvml(
    const std::string& pci_bus_id, const std::string& library = "libnvidia-ml.so.1");

}  // namespace neolog::telemetry
