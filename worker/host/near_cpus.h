#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

/// On a host with several GPUs, each worker keeps to its share of the CPUs that are near its GPU:
/// memory on the other socket is slower to reach, and workers do not take each other's cores.
namespace neolog::host {

/// The CPUs of a list as the kernel writes it, "0-3,8", in its order. InvalidArgument for another
/// text.
absl::StatusOr<std::vector<int>> ParseCpuList(std::string_view list);

/// The CPUs near the PCI device `bus_id` ("0000:3b:00.0"). NotFound where the kernel does not say:
/// a device that is not there, or a virtual machine. `sys` stands for /sys.
absl::StatusOr<std::vector<int>> CpusNear(const std::string& bus_id,
                                          const std::string& sys = "/sys");

/// The CPUs for the worker of device `index`. `near` are the CPUs near each device that this
/// process sees, in one order for all of them: `neolog` starts a worker on each. Devices that are
/// near the same CPUs divide these, of which only those in `allowed` count. Empty: do not choose,
/// because nothing is known, or a share would be less than `threads`.
std::vector<int> ShareOfCpus(std::span<const std::vector<int>> near, size_t index,
                             std::span<const int> allowed, size_t threads);

/// The CPUs that this thread may run on.
std::vector<int> AllowedCpus();

/// Keeps this thread, and those that it starts from now on, to `cpus`. Internal when the kernel
/// refuses.
absl::Status KeepToCpus(std::span<const int> cpus);

}  // namespace neolog::host
