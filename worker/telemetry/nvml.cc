#include "worker/telemetry/nvml.h"

#include <fmt/format.h>

#include "common/base/dynamic_library.h"
#include "worker/telemetry/nvml_abi.h"

namespace neolog::telemetry {
namespace {

using namespace nvml;

absl::StatusOr<Functions> LoadNvml(const std::string& path) {
  auto library = DynamicLibrary::Open(path);
  if (!library.ok()) {
    return NotFound(fmt::format("NVML cannot be loaded: {}; it comes with NVIDIA's driver",
                                ToStd(library.status().message())));
  }
  Functions f;
  library->Resolve("nvmlInit_v2", f.init);
  library->Resolve("nvmlShutdown", f.shutdown);
  library->Resolve("nvmlErrorString", f.error_string);
  library->Resolve("nvmlDeviceGetHandleByPciBusId_v2", f.handle_by_pci_bus_id);
  library->Resolve("nvmlDeviceGetUtilizationRates", f.utilization);
  library->Resolve("nvmlDeviceGetMemoryInfo", f.memory);
  library->Resolve("nvmlDeviceGetTemperature", f.temperature);
  library->Resolve("nvmlDeviceGetPowerUsage", f.power);
  library->Resolve("nvmlDeviceGetCurrentClocksThrottleReasons", f.clock_reasons);
  library->Resolve("nvmlDeviceGetTotalEccErrors", f.ecc_errors);
  library->Resolve("nvmlEventSetCreate", f.event_set_create);
  library->Resolve("nvmlEventSetFree", f.event_set_free);
  library->Resolve("nvmlDeviceRegisterEvents", f.register_events);
  library->Resolve("nvmlEventSetWait_v2", f.event_wait);
  RETURN_IF_ERROR(library->Complete());
  return f;
}

class NvmlTelemetry : public DeviceTelemetry {
 public:
  NvmlTelemetry(const Functions& functions, Device device) : nvml_(functions), device_(device) {
    // Virtual machines may not hand events on: then there are none.
    if (nvml_.event_set_create(&events_) != kSuccess) events_ = nullptr;
    if (events_ != nullptr && nvml_.register_events(device_, kXidEvent, events_) != kSuccess) {
      nvml_.event_set_free(events_);
      events_ = nullptr;
    }
  }
  ~NvmlTelemetry() override {
    if (events_ != nullptr) nvml_.event_set_free(events_);
    nvml_.shutdown();
  }

  v1::DeviceSample Sample() override {
    v1::DeviceSample sample;
    Memory memory;
    if (const Return result = nvml_.memory(device_, &memory); result == kSuccess) {
      sample.set_memory_used_bytes(memory.used);
      sample.set_memory_total_bytes(memory.total);
    } else if (result != kNotSupported) {
      sample.set_error(nvml_.error_string(result));
    }
    if (Utilization rates; nvml_.utilization(device_, &rates) == kSuccess)
      sample.set_utilization_percent(rates.gpu);
    if (unsigned celsius = 0; nvml_.temperature(device_, kTemperatureGpu, &celsius) == kSuccess)
      sample.set_temperature_celsius(celsius);
    if (unsigned milliwatts = 0; nvml_.power(device_, &milliwatts) == kSuccess)
      sample.set_power_watts(milliwatts / 1000.0);
    if (unsigned long long reasons = 0; nvml_.clock_reasons(device_, &reasons) == kSuccess)
      AddThrottling(reasons, sample);
    if (unsigned long long errors = 0;
        nvml_.ecc_errors(device_, kUncorrectedError, kSinceDriverLoad, &errors) == kSuccess) {
      sample.set_ecc_errors(errors);
    }
    TakeEvents();
    sample.set_last_xid(last_xid_);
    return sample;
  }

 private:
  static void AddThrottling(unsigned long long reasons, v1::DeviceSample& sample) {
    if ((reasons & (kSoftwareThermal | kHardwareThermal)) != 0) sample.add_throttling("heat");
    if ((reasons & kPowerCap) != 0) sample.add_throttling("power limit");
    if ((reasons & kPowerBrake) != 0) sample.add_throttling("power brake");
    // Also set with heat and the brake.
    if ((reasons & kHardwareSlowdown) != 0 && sample.throttling().empty())
      sample.add_throttling("hardware slowdown");
  }

  void TakeEvents() {
    EventData event;
    while (events_ != nullptr && nvml_.event_wait(events_, &event, 0) == kSuccess) {
      if ((event.type & kXidEvent) != 0) last_xid_ = static_cast<uint32_t>(event.data);
    }
  }

  const Functions nvml_;
  const Device device_;
  EventSet events_ = nullptr;
  uint32_t last_xid_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceTelemetry>> OpenNvml(const std::string& pci_bus_id,
                                                          const std::string& library) {
  ASSIGN_OR_RETURN(const Functions nvml, LoadNvml(library));
  if (const Return result = nvml.init(); result != kSuccess)
    return FailedPrecondition(fmt::format("NVML cannot be used: {}", nvml.error_string(result)));
  Device device = nullptr;
  if (const Return result = nvml.handle_by_pci_bus_id(pci_bus_id.c_str(), &device);
      result != kSuccess) {
    const std::string why = nvml.error_string(result);
    nvml.shutdown();
    return FailedPrecondition(fmt::format("NVML knows no device {}: {}", pci_bus_id, why));
  }
  return std::make_unique<NvmlTelemetry>(nvml, device);
}

}  // namespace neolog::telemetry
