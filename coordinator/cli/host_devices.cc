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
  for (const Json& gpu : report.value("gpus", Json::object())) {
    if (gpu.is_object() && !gpu.value("bf16", true))
      host.without_bfloat16 = gpu.value("name", "a GPU");
    const int64_t memory = gpu.is_object() ? gpu.value("memory_bytes", int64_t{0}) : 0;
    if (memory > 0 && (host.cuda_memory == 0 || memory < host.cuda_memory))
      host.cuda_memory = memory;
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

absl::StatusOr<LocalPlan> PlanLocalWorkers(const std::string& self_path, const std::string& kind,
                                           uint32_t workers, uint32_t threads) {
  HostDevices host{.cores = std::thread::hardware_concurrency()};
  if (kind == "cuda") {
    ASSIGN_OR_RETURN(const Programs programs, FindPrograms(self_path));
    ASSIGN_OR_RETURN(const Json report, AskWorkerDoctor(programs.worker));
    host = HostDevicesOf(report, host.cores);
  }
  LocalPlan plan;
  ASSIGN_OR_RETURN(plan.devices, PlanWorkers(host, kind, workers, threads));
  if (kind == "cuda") plan.without_bfloat16 = host.without_bfloat16;
  plan.memory_each =
      kind == "cuda"
          ? host.cuda_memory
          : AvailableMemory() / static_cast<int64_t>(std::max<size_t>(1, plan.devices.size()));
  return plan;
}

}  // namespace neolog::cli
