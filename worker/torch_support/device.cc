#include "worker/torch_support/device.h"

#include <fmt/format.h>

#include <charconv>

#include "common/base/process.h"
#include "worker/torch_support/cuda/cuda_devices.h"

namespace neolog::torch_support {

absl::StatusOr<c10::Device> SelectDevice(std::string_view name) {
  if (name == "cpu") return c10::Device(c10::DeviceType::CPU);
  constexpr std::string_view kPrefix = "cuda:";
  int index = -1;
  if (name.substr(0, kPrefix.size()) == kPrefix) {
    const char* begin = name.data() + kPrefix.size();
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(begin, end, index);
    if (error != std::errc() || stop != end) index = -1;
  }
  if (index < 0 || index > 127) {
    return InvalidArgument(
        fmt::format("device '{}': expected \"cpu\" or \"cuda:N\", as in \"cuda:0\"", name));
  }
  ASSIGN_OR_RETURN_WITH(const int count, CudaDeviceCount(), fmt::format("device '{}'", name));
  if (index >= count) {
    return FailedPrecondition(fmt::format("device '{}': this machine has {} CUDA device{}", name,
                                          count, count == 1 ? "" : "s"));
  }
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
}

absl::StatusOr<int64_t> DeviceMemory(std::string_view name) {
  ASSIGN_OR_RETURN(const c10::Device device, SelectDevice(name));
  if (device.is_cpu()) return AvailableMemory();
  ASSIGN_OR_RETURN(const CudaDevice cuda, DescribeCudaDevice(device.index()));
  return static_cast<int64_t>(cuda.memory);
}

}  // namespace neolog::torch_support
