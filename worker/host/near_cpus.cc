#include "worker/host/near_cpus.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>

namespace neolog::host {
namespace {

// Kernels are built for at most this many.
constexpr int kMostCpus = 8192;

// A number at the start of `text`, which loses it; -1: none.
int TakeNumber(std::string_view& text) {
  int number = -1;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || number >= kMostCpus) return -1;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  return number;
}

}  // namespace

absl::StatusOr<std::vector<int>> ParseCpuList(std::string_view list) {
  std::vector<int> cpus;
  std::string_view rest = list;
  while (!rest.empty()) {
    const int first = TakeNumber(rest);
    int last = first;
    if (first >= 0 && rest.starts_with('-')) {
      rest.remove_prefix(1);
      last = TakeNumber(rest);
    }
    const bool more = rest.starts_with(',');
    if (more) rest.remove_prefix(1);
    if (first < 0 || last < first || (more ? rest.empty() : !rest.empty()))
      return InvalidArgument(
          fmt::format("'{}' is no list of CPUs; expected one as \"0-3,8\"", list));
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

absl::StatusOr<std::vector<int>> CpusNear(const std::string& bus_id, const std::string& sys) {
  std::string lower = bus_id;  // CUDA may write it in capitals
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::string path = fmt::format("{}/bus/pci/devices/{}/local_cpulist", sys, lower);
  std::string list;
  if (!(std::ifstream(path) >> list))
    return NotFound(fmt::format("the kernel does not say which CPUs are near {}", bus_id));
  return ParseCpuList(list);
}

std::vector<int> ShareOfCpus(std::span<const std::vector<int>> near, size_t index,
                             std::span<const int> allowed, size_t threads) {
  std::vector<int> cpus;
  std::copy_if(near[index].begin(), near[index].end(), std::back_inserter(cpus), [&](int cpu) {
    return std::find(allowed.begin(), allowed.end(), cpu) != allowed.end();
  });
  size_t sharers = 0, place = 0;
  for (size_t i = 0; i < near.size(); ++i) {
    if (near[i] != near[index]) continue;
    if (i < index) ++place;
    ++sharers;
  }
  const size_t begin = cpus.size() * place / sharers, end = cpus.size() * (place + 1) / sharers;
  if (end - begin < threads) return {};
  return {cpus.begin() + static_cast<ptrdiff_t>(begin), cpus.begin() + static_cast<ptrdiff_t>(end)};
}

std::vector<int> AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

absl::Status KeepToCpus(std::span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) {
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) == 0) return absl::OkStatus();
  return Internal(fmt::format("the kernel does not let this worker keep to {} CPUs: {}",
                              cpus.size(), std::strerror(errno)));
}

}  // namespace neolog::host
