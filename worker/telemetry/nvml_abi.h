#pragma once

#include <cstdint>

// What is called of NVML (its reference manual, "NVML API Reference"), declared here: its header
// comes with neither the driver nor the wheels.
extern "C" {
struct nvmlDevice_st;
struct nvmlEventSet_st;
}

namespace neolog::telemetry::nvml {

using Device = nvmlDevice_st*;
using EventSet = nvmlEventSet_st*;

/// nvmlReturn_t.
enum Return : int {
  kSuccess = 0,
  kNotSupported = 3,
  kNotFound = 6,
  kDriverNotLoaded = 9,
  kTimeout = 10,
  kGpuIsLost = 15,
};

/// nvmlUtilization_t, in percent.
struct Utilization {
  unsigned gpu = 0;
  unsigned memory = 0;
};

/// nvmlMemory_t, in bytes.
struct Memory {
  unsigned long long total = 0;
  unsigned long long free = 0;
  unsigned long long used = 0;
};

/// nvmlEventData_t.
struct EventData {
  Device device = nullptr;
  unsigned long long type = 0;
  unsigned long long data = 0;
  unsigned gpu_instance = 0;
  unsigned compute_instance = 0;
};

inline constexpr unsigned kTemperatureGpu = 0;
inline constexpr unsigned kUncorrectedError = 1;
inline constexpr unsigned kSinceDriverLoad = 0;
inline constexpr unsigned long long kXidEvent = 8;

/// Reasons for lowered clocks (nvmlClocksEventReasons).
inline constexpr unsigned long long kPowerCap = 0x4;
inline constexpr unsigned long long kHardwareSlowdown = 0x8;
inline constexpr unsigned long long kSoftwareThermal = 0x20;
inline constexpr unsigned long long kHardwareThermal = 0x40;
inline constexpr unsigned long long kPowerBrake = 0x80;

/// The calls.
struct Functions {
  Return (*init)() = nullptr;
  Return (*shutdown)() = nullptr;
  const char* (*error_string)(Return result) = nullptr;
  Return (*handle_by_pci_bus_id)(const char* id, Device* device) = nullptr;
  Return (*utilization)(Device device, Utilization* rates) = nullptr;
  Return (*memory)(Device device, Memory* memory) = nullptr;
  Return (*temperature)(Device device, unsigned sensor, unsigned* celsius) = nullptr;
  Return (*power)(Device device, unsigned* milliwatts) = nullptr;
  Return (*clock_reasons)(Device device, unsigned long long* reasons) = nullptr;
  Return (*ecc_errors)(Device device, unsigned type, unsigned counter,
                       unsigned long long* count) = nullptr;
  Return (*event_set_create)(EventSet* set) = nullptr;
  Return (*event_set_free)(EventSet set) = nullptr;
  Return (*register_events)(Device device, unsigned long long types, EventSet set) = nullptr;
  Return (*event_wait)(EventSet set, EventData* data, unsigned milliseconds) = nullptr;
};

/// NVML_DEVICE_MIG_DISABLE, and the bytes of a UUID's text (NVML_DEVICE_UUID_V2_BUFFER_SIZE).
inline constexpr unsigned kMigDisabled = 0;
inline constexpr unsigned kUuidLength = 96;

/// The calls that find MIG instances; drivers before them lack some.
struct MigFunctions {
  Return (*init)() = nullptr;
  Return (*shutdown)() = nullptr;
  Return (*count)(unsigned* devices) = nullptr;
  Return (*handle_by_index)(unsigned index, Device* device) = nullptr;
  Return (*mig_mode)(Device device, unsigned* now, unsigned* pending) = nullptr;
  Return (*most_instances)(Device device, unsigned* count) = nullptr;
  Return (*instance_by_index)(Device device, unsigned index, Device* instance) = nullptr;
  Return (*uuid)(Device device, char* text, unsigned length) = nullptr;
};

}  // namespace neolog::telemetry::nvml
