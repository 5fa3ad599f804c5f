#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "common/base/mutex.h"
#include "worker/telemetry/device_telemetry.h"

namespace neolog::telemetry {

/// Asks a device again and again on a thread of its own, so that nobody who wants to know waits for
/// its driver. A new Xid event is logged, with what it means.
class DeviceSampler {
 public:
  DeviceSampler(std::unique_ptr<DeviceTelemetry> telemetry, std::chrono::milliseconds interval);
  /// Waits for the question under way.
  ~DeviceSampler();
  DeviceSampler(const DeviceSampler&) = delete;
  DeviceSampler& operator=(const DeviceSampler&) = delete;
  /// The last answer; absent before the first. Any thread, at once.
  std::optional<v1::DeviceSample> Latest() const;

 private:
  void Loop();

  const std::unique_ptr<DeviceTelemetry> telemetry_;
  const std::chrono::milliseconds interval_;
  mutable Mutex mutex_;
  CondVar changed_;
  bool ending_ GUARDED_BY(mutex_) = false;
  std::optional<v1::DeviceSample> latest_ GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the members above
};

/// What an Xid code of NVIDIA's driver means, in a few words; empty for those that are rare.
const char* XidMeaning(uint32_t xid);

}  // namespace neolog::telemetry
