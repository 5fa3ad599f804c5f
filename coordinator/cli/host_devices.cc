#include "coordinator/cli/host_devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "common/base/process.h"
#include "common/base/subprocess.h"
#include "coordinator/cli/local_cluster.h"

namespace neolog::cli {

using Json = nlohmann::ordered_json;

absl::StatusOr<Json> AskWorkerDoctor(const std::string& worker_program) {
  SpawnOptions spawn;
  spawn.argv = {worker_program, "doctor", "--json"};
  ASSIGN_OR_RETURN(const CommandResult result, RunCommand(spawn, absl::Seconds(60)));
  Json report = Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  if (result.exit.success() && report.is_object()) return report;
  std::string said = result.err;
  while (said.ends_with('\n')) said.pop_back();
  return Internal(fmt::format("'{} doctor --json' ended with {}: {}", worker_program,
                              result.exit.ToString(), said));
}

HostDevices HostDevicesOf(const Json& report, uint32_t cores) {
  HostDevices host{.cores = cores};
  for (const Json& device : report.value("devices", Json::array())) {
    if (!device.is_string()) continue;
    const auto name = device.get<std::string>();
    if (name.starts_with("cuda:") || name.starts_with("MIG-")) host.cuda.push_back(name);
  }
  const Json gpus = report.value("gpus", Json::object());
  for (const auto& [device, gpu] : gpus.items()) {
    if (!gpu.is_object()) continue;
    host.gpus[device] = {.name = gpu.value("name", device),
                         .memory = gpu.value("memory_bytes", int64_t{0}),
                         .bfloat16 = gpu.value("bf16", true)};
  }
  host.why_no_cuda = report.value("cuda_error", "the worker names none");
  return host;
}

absl::StatusOr<std::vector<std::string>> PlanWorkers(const HostDevices& host,
                                                     const std::string& kind, uint32_t workers,
                                                     uint32_t threads) {
  if (kind != "cuda") {
    const uint32_t share = std::max<uint32_t>(1, host.cores / std::max<uint32_t>(1, threads));
    return std::vector<std::string>(workers == 0 ? share : workers, kind);
  }
  if (host.cuda.empty())
    return FailedPrecondition(fmt::format("no GPU to compute on: {}", host.why_no_cuda));
  if (workers > host.cuda.size()) {
    return FailedPrecondition(fmt::format(
        "{} workers need as many GPUs, and this machine has {} ({}): ask for {}, or for "
        "none and get one worker each",
        workers, host.cuda.size(), fmt::join(host.cuda, ", "), host.cuda.size()));
  }
  std::vector<std::string> devices = host.cuda;
  if (workers != 0) devices.resize(workers);
  return devices;
}

absl::StatusOr<LocalPlan> PlanFor(const HostDevices& host, int64_t memory, const std::string& kind,
                                  uint32_t workers, uint32_t threads) {
  LocalPlan plan;
  ASSIGN_OR_RETURN(plan.devices, PlanWorkers(host, kind, workers, threads));
  if (kind != "cuda") {
    plan.memory_each = memory / static_cast<int64_t>(std::max<size_t>(1, plan.devices.size()));
    return plan;
  }
  for (const std::string& device : plan.devices) {
    const auto gpu = host.gpus.find(device);
    if (gpu == host.gpus.end()) continue;
    if (!gpu->second.bfloat16) plan.without_bfloat16 = gpu->second.name;
    if (gpu->second.memory > 0 && (plan.memory_each == 0 || gpu->second.memory < plan.memory_each))
      plan.memory_each = gpu->second.memory;
  }
  return plan;
}

absl::StatusOr<LocalPlan> PlanLocalWorkers(const std::string& self_path, const std::string& kind,
                                           uint32_t workers, uint32_t threads) {
  HostDevices host{.cores = std::thread::hardware_concurrency()};
  if (kind == "cuda") {
    ASSIGN_OR_RETURN(const Programs programs, FindPrograms(self_path));
    ASSIGN_OR_RETURN(const Json report, AskWorkerDoctor(programs.worker));
    host = HostDevicesOf(report, host.cores);
  }
  return PlanFor(host, AvailableMemory(), kind, workers, threads);
}

}  // namespace neolog::cli
