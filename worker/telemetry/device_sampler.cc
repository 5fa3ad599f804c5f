#include "worker/telemetry/device_sampler.h"

#include "common/base/log.h"

namespace neolog::telemetry {

DeviceSampler::DeviceSampler(std::unique_ptr<DeviceTelemetry> telemetry,
                             std::chrono::milliseconds interval)
    : telemetry_(std::move(telemetry)), interval_(interval), thread_([this] { Loop(); }) {}

DeviceSampler::~DeviceSampler() {
  {
    MutexLock lock(mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

std::optional<v1::DeviceSample> DeviceSampler::Latest() const {
  MutexLock lock(mutex_);
  return latest_;
}

void DeviceSampler::Loop() {
  uint32_t last_xid = 0;
  for (;;) {
    const v1::DeviceSample sample = telemetry_->Sample();
    if (sample.last_xid() != last_xid) {
      last_xid = sample.last_xid();
      const std::string meaning = XidMeaning(last_xid);
      spdlog::error("the GPU's driver reports Xid {}{}{}", last_xid, meaning.empty() ? "" : ": ",
                    meaning);
    }
    const auto next = std::chrono::steady_clock::now() + interval_;
    MutexLock lock(mutex_);
    latest_ = sample;
    while (!ending_ && changed_.WaitUntil(mutex_, next)) {
    }
    if (ending_) return;
  }
}

const char* XidMeaning(uint32_t xid) {
  // NVIDIA's "XID Errors" guide.
  switch (xid) {
    case 13: return "an exception in a kernel";
    case 31: return "a memory page fault in a kernel";
    case 43: return "the device stopped processing";
    case 45: return "work was ended before it was done";
    case 48: return "an uncorrectable memory error";
    case 62: return "its internal micro-controller halted";
    case 63: return "a memory page was retired or a row remapped";
    case 64: return "a memory page could not be retired or a row not remapped: replace it";
    case 74: return "an NVLink error";
    case 79: return "it has fallen off the bus: the machine must be restarted";
    case 94: return "a contained memory error: this process must be restarted";
    case 95: return "an uncontained memory error: the device must be reset";
    case 119:
    case 120: return "its system processor does not answer: the device must be reset";
    default: return "";
  }
}

}  // namespace neolog::telemetry
