#include "worker/telemetry/mig_instances.h"

#include <algorithm>
#include <string_view>

#include "common/base/dynamic_library.h"
#include "worker/telemetry/nvml_abi.h"

namespace neolog::telemetry {

using namespace nvml;

std::vector<std::string> MigInstances(const std::string& path) {
  std::vector<std::string> found;
  auto library = DynamicLibrary::Open(path);
  if (!library.ok()) return found;
  MigFunctions f;
  library->Resolve("nvmlInit_v2", f.init);
  library->Resolve("nvmlShutdown", f.shutdown);
  library->Resolve("nvmlDeviceGetCount_v2", f.count);
  library->Resolve("nvmlDeviceGetHandleByIndex_v2", f.handle_by_index);
  library->Resolve("nvmlDeviceGetMigMode", f.mig_mode);
  library->Resolve("nvmlDeviceGetMaxMigDeviceCount", f.most_instances);
  library->Resolve("nvmlDeviceGetMigDeviceHandleByIndex", f.instance_by_index);
  library->Resolve("nvmlDeviceGetUUID", f.uuid);
  // A driver before MIG lacks some of them.
  if (!library->Complete().ok() || f.init() != kSuccess) return found;
  unsigned devices = 0;
  if (f.count(&devices) != kSuccess) devices = 0;
  for (unsigned i = 0; i < devices; ++i) {
    Device device = nullptr;
    unsigned now = kMigDisabled, pending = kMigDisabled, most = 0;
    if (f.handle_by_index(i, &device) != kSuccess ||
        f.mig_mode(device, &now, &pending) != kSuccess || now == kMigDisabled ||
        f.most_instances(device, &most) != kSuccess) {
      continue;
    }
    for (unsigned k = 0; k < most; ++k) {
      Device instance = nullptr;
      char uuid[kUuidLength] = "";
      if (f.instance_by_index(device, k, &instance) == kSuccess &&
          f.uuid(instance, uuid, sizeof uuid) == kSuccess) {
        found.emplace_back(uuid);
      }
    }
  }
  f.shutdown();
  return found;
}

std::vector<std::string> VisibleMigInstances(std::span<const std::string> all,
                                             const char* cuda_visible_devices) {
  if (cuda_visible_devices == nullptr) return {all.begin(), all.end()};
  std::vector<std::string> visible;
  std::string_view rest = cuda_visible_devices;
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (std::find(all.begin(), all.end(), name) != all.end()) visible.emplace_back(name);
  }
  return visible;
}

bool IsMigInstance(std::string_view device) { return device.starts_with("MIG-"); }

}  // namespace neolog::telemetry
