// An NVML with one device at 0000:3b:00.0, for tests: busy, warm, slowed by heat. The environment
// variable NEOLOG_FAKE_NVML names what it is like: "lost" (off the bus), "virtual" (says nothing
// but its memory), "xid" (reports Xid 79 once), "no-init", "mig" (instances 0 and 2 of up to 3).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "worker/telemetry/nvml_abi.h"

namespace {

using namespace neolog::telemetry::nvml;

int device;
int instances[3];
int event_set;
int open_sets = 0;
int initialised = 0;
bool xid_pending = false;

bool Is(std::string_view what) {
  const char* mode = std::getenv("NEOLOG_FAKE_NVML");
  return mode != nullptr && what == mode;
}

Return Answer() { return Is("lost") ? kGpuIsLost : Is("virtual") ? kNotSupported : kSuccess; }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

/// Inits without shutdown, and event sets that were not freed.
int neologFakeNvmlLive() { return initialised + open_sets; }

Return nvmlInit_v2() {
  if (Is("no-init")) return kDriverNotLoaded;
  ++initialised;
  xid_pending = Is("xid");
  return kSuccess;
}

Return nvmlShutdown() {
  --initialised;
  return kSuccess;
}

const char* nvmlErrorString(Return result) {
  switch (result) {
    case kGpuIsLost: return "GPU is lost";
    case kDriverNotLoaded: return "Driver Not Loaded";
    default: return "Not Found";
  }
}

Return nvmlDeviceGetHandleByPciBusId_v2(const char* id, Device* found) {
  if (std::strcmp(id, "0000:3b:00.0") != 0) return kNotFound;
  *found = reinterpret_cast<Device>(&device);
  return kSuccess;
}

Return nvmlDeviceGetCount_v2(unsigned* devices) {
  *devices = 1;
  return kSuccess;
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* found) {
  if (index != 0) return kNotFound;
  *found = reinterpret_cast<Device>(&device);
  return kSuccess;
}

Return nvmlDeviceGetMigMode(Device, unsigned* now, unsigned* pending) {
  *now = *pending = Is("mig") ? 1 : kMigDisabled;
  return Is("virtual") ? kNotSupported : kSuccess;
}

Return nvmlDeviceGetMaxMigDeviceCount(Device, unsigned* count) {
  *count = 3;
  return kSuccess;
}

Return nvmlDeviceGetMigDeviceHandleByIndex(Device, unsigned index, Device* instance) {
  if (index > 2 || index == 1) return kNotFound;
  *instance = reinterpret_cast<Device>(&instances[index]);
  return kSuccess;
}

Return nvmlDeviceGetUUID(Device of, char* text, unsigned length) {
  const auto index = reinterpret_cast<int*>(of) - instances;
  std::snprintf(text, length, "MIG-0000000%d", static_cast<int>(index));
  return kSuccess;
}

Return nvmlDeviceGetUtilizationRates(Device, Utilization* rates) {
  rates->gpu = 87;
  return Answer();
}

Return nvmlDeviceGetMemoryInfo(Device, Memory* memory) {
  memory->used = 21'300'000'000;
  memory->total = 80'000'000'000;
  return Is("virtual") ? kSuccess : Answer();
}

Return nvmlDeviceGetTemperature(Device, unsigned sensor, unsigned* celsius) {
  *celsius = sensor == kTemperatureGpu ? 64 : 0;
  return Answer();
}

Return nvmlDeviceGetPowerUsage(Device, unsigned* milliwatts) {
  *milliwatts = 310'500;
  return Answer();
}

Return nvmlDeviceGetCurrentClocksThrottleReasons(Device, unsigned long long* reasons) {
  *reasons = kSoftwareThermal | kHardwareSlowdown | kPowerCap;
  return Answer();
}

Return nvmlDeviceGetTotalEccErrors(Device, unsigned type, unsigned counter,
                                   unsigned long long* count) {
  *count = type == kUncorrectedError && counter == kSinceDriverLoad ? 2 : 1000;
  return Answer();
}

Return nvmlEventSetCreate(EventSet* set) {
  if (Is("virtual")) return kNotSupported;
  *set = reinterpret_cast<EventSet>(&event_set);
  ++open_sets;
  return kSuccess;
}

Return nvmlEventSetFree(EventSet) {
  --open_sets;
  return kSuccess;
}

Return nvmlDeviceRegisterEvents(Device, unsigned long long types, EventSet) {
  return types == kXidEvent ? kSuccess : kNotSupported;
}

Return nvmlEventSetWait_v2(EventSet, EventData* data, unsigned milliseconds) {
  if (milliseconds != 0 || !xid_pending) return kTimeout;
  xid_pending = false;
  data->type = kXidEvent;
  data->data = 79;
  return kSuccess;
}

}  // extern "C"
#pragma GCC visibility pop
