#include "worker/program.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/base/log.h"
#include "common/base/version.h"
#include "worker/agent/run_command.h"
#include "worker/generate/draw_command.h"
#include "worker/host/near_cpus.h"
#include "worker/replay/replay_command.h"
#include "worker/telemetry/device_sampler.h"
#include "worker/telemetry/mig_instances.h"
#include "worker/telemetry/nvml.h"
#include "worker/torch_support/cuda/cuda_devices.h"
#include "worker/torch_support/device.h"
#include "worker/torch_support/runtime.h"
#include "worker/train/pack_trainer.h"

namespace neolog {
namespace {

using collective::nccl::LibraryPaths;
using collective::nccl::Load;
using collective::nccl::VersionName;

constexpr int kUsage = 2;
constexpr std::chrono::milliseconds kTelemetryInterval{1000};

/// What is told of `device` is what a run may be bound to: devices of one name compute the same
/// bits.
absl::StatusOr<agent::Compute> RealCompute(const agent::RunOptions& options, c10::Device device) {
  const torch_support::Capabilities found = torch_support::GetCapabilities();
  agent::Compute compute;
  compute.capabilities.set_instruction_set(found.instruction_set);
  compute.capabilities.set_torch_build(found.torch_build);
  bool bfloat16 = true;
  if (device.is_cpu()) {
    compute.capabilities.set_device("cpu");
  } else {
    ASSIGN_OR_RETURN(const torch_support::CudaDevice cuda,
                     torch_support::DescribeCudaDevice(device.index()));
    compute.capabilities.set_device(cuda.name);
    if (auto nvml = telemetry::OpenNvml(cuda.pci_bus_id); nvml.ok()) {
      const auto sampler =
          std::make_shared<telemetry::DeviceSampler>(std::move(nvml).value(), kTelemetryInterval);
      compute.device_sample = [sampler] { return sampler->Latest(); };
    } else {
      spdlog::info("the GPU is not watched: {}", ToStd(nvml.status().message()));
    }
    bfloat16 = cuda.bfloat16;
  }
  compute.capabilities.set_threads(options.threads);
  compute.capabilities.add_precisions("fp32");
  if (bfloat16) compute.capabilities.add_precisions("bf16");
  compute.capabilities.add_precisions("fp16");
  compute.make_trainer = [](const agent::RunOptions& run, BlobStore* blobs) {
    return train::CreatePackTrainer({.threads = static_cast<int>(run.threads),
                                     .device = run.device,
                                     .fingerprint_cache = run.fingerprint_cache.empty()
                                                              ? run.state_dir + "/fingerprints.json"
                                                              : run.fingerprint_cache,
                                     .blobs = blobs});
  };
  return compute;
}

/// How gradients are gathered, as the command line says.
struct CollectiveOptions {
  std::string over = "auto";
  LibraryPaths libraries;
};

/// NCCL for `device`, as far as one process can try it alone.
absl::StatusOr<agent::Nccl> LoadNccl(const LibraryPaths& libraries, c10::Device device) {
  agent::Nccl nccl{.device = std::max<int>(device.index(), 0)};
  ASSIGN_OR_RETURN(nccl.libraries, Load(libraries));
  if (const auto error = nccl.libraries->cuda.set_device(nccl.device); error != 0) {
    return FailedPrecondition(fmt::format("CUDA device {} cannot be used: {}", nccl.device,
                                          nccl.libraries->cuda.get_error_string(error)));
  }
  return nccl;
}

/// What a worker on `device` gathers over besides its peers' streams. A GPU without a usable NCCL
/// goes on over those, unless NCCL was asked for.
absl::StatusOr<agent::Nccl> FindNccl(const CollectiveOptions& options, c10::Device device,
                                     bool mig) {
  if (options.over == "peer" || (options.over == "auto" && device.is_cpu())) return agent::Nccl();
  if (mig && options.over == "auto") {
    // It takes two instances of one GPU for the same device twice.
    spdlog::info("gradients of a MIG instance are gathered over the workers' own streams");
    return agent::Nccl();
  }
  auto nccl = LoadNccl(options.libraries, device);
  if (nccl.ok() || options.over == "nccl") return nccl;
  spdlog::warn("gradients are gathered over the workers' own streams: {}",
               ToStd(nccl.status().message()));
  return agent::Nccl();
}

/// A MIG instance is the one device that CUDA shows a process which names it; called before CUDA
/// is. Whether it is one.
bool UseMigInstance(agent::RunOptions& options) {
  if (!telemetry::IsMigInstance(options.device)) return false;
  setenv("CUDA_VISIBLE_DEVICES", options.device.c_str(), 1);
  options.device = "cuda:0";
  return true;
}

/// Before there are other threads: they inherit it.
void KeepNearDevice(const agent::RunOptions& options, c10::Device device) {
  if (device.is_cpu()) return;
  std::vector<std::vector<int>> near;
  const auto gpus = torch_support::CudaDeviceCount();
  for (int i = 0; gpus.ok() && i < *gpus; ++i) {
    const auto gpu = torch_support::DescribeCudaDevice(i);
    near.push_back(gpu.ok() ? host::CpusNear(gpu->pci_bus_id).value_or(std::vector<int>())
                            : std::vector<int>());
  }
  const auto index = static_cast<size_t>(device.index());
  if (index >= near.size()) return;
  const std::vector<int> cpus =
      host::ShareOfCpus(near, index, host::AllowedCpus(), static_cast<size_t>(options.threads));
  if (cpus.empty()) return;
  if (const absl::Status kept = host::KeepToCpus(cpus); !kept.ok()) {
    spdlog::warn("{}", ToStd(kept.message()));
  } else {
    spdlog::info("keeps to {} CPUs near its GPU, from {} to {}", cpus.size(), cpus.front(),
                 cpus.back());
  }
}

int Run(agent::RunOptions options, const CollectiveOptions& collective) {
  const bool mig = UseMigInstance(options);
  const auto device = torch_support::SelectDevice(options.device);
  if (!device.ok()) {
    fmt::print(stderr, "neolog-worker: --device: {}\n", ToStd(device.status().message()));
    return kUsage;
  }
  // A worker of a MIG instance does not see the others that are near the same CPUs.
  if (!mig) KeepNearDevice(options, *device);
  const auto nccl = FindNccl(collective, *device, mig);
  if (!nccl.ok()) {
    fmt::print(stderr, "neolog-worker: --collective nccl: {}\n", ToStd(nccl.status().message()));
    return kUsage;
  }
  auto compute = RealCompute(options, *device);
  if (!compute.ok()) {
    fmt::print(stderr, "neolog-worker: --device: {}\n", ToStd(compute.status().message()));
    return kUsage;
  }
  compute->nccl = *nccl;
  return agent::RunWorker(options, *compute);
}

/// The settings of NCCL's own that it will find: they are passed through.
nlohmann::json NcclSettings() {
  nlohmann::json settings = nlohmann::json::object();
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (const size_t equals = text.find('='); text.starts_with("NCCL_") && equals != text.npos)
      settings[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  return settings;
}

/// Name, memory and what the device says now.
nlohmann::json AskGpu(int index) {
  const auto device = torch_support::DescribeCudaDevice(index);
  if (!device.ok()) return {{"error", ToStd(device.status().message())}};
  nlohmann::json report = {
      {"name", device->name}, {"memory_bytes", device->memory}, {"bf16", device->bfloat16}};
  const auto nvml = telemetry::OpenNvml(device->pci_bus_id);
  if (!nvml.ok()) {
    report["nvml_error"] = ToStd(nvml.status().message());
    return report;
  }
  std::string sample;
  if (google::protobuf::util::MessageToJsonString((*nvml)->Sample(), &sample).ok())
    report["sample"] = nlohmann::json::parse(sample, nullptr, /*allow_exceptions=*/false);
  return report;
}

int Doctor(bool json, const LibraryPaths& libraries) {
  const torch_support::Capabilities found = torch_support::GetCapabilities();
  nlohmann::json devices = nlohmann::json::array({"cpu"});
  const auto gpus = torch_support::CudaDeviceCount();
  if (gpus.ok()) {
    const std::vector<std::string> instances = telemetry::VisibleMigInstances(
        telemetry::MigInstances(), std::getenv("CUDA_VISIBLE_DEVICES"));
    for (const std::string& instance : instances) devices.push_back(instance);
    for (int i = 0; instances.empty() && i < *gpus; ++i)
      devices.push_back(fmt::format("cuda:{}", i));
  }
  nlohmann::json watched = nlohmann::json::object();
  for (int i = 0; gpus.ok() && i < *gpus; ++i) watched[fmt::format("cuda:{}", i)] = AskGpu(i);
  const auto nccl = Load(libraries);
  nlohmann::json report = {{"version", kVersion},
                           {"instruction_set", found.instruction_set},
                           {"torch_build", found.torch_build},
                           {"cuda_build", found.cuda},
                           {"devices", devices},
                           {"gpus", watched},
                           {"nccl", nccl.ok() ? VersionName((*nccl)->version) : "none"},
                           {"nccl_settings", NcclSettings()},
                           {"threads", std::thread::hardware_concurrency()}};
  if (!gpus.ok()) report["cuda_error"] = ToStd(gpus.status().message());
  if (!nccl.ok()) report["nccl_error"] = ToStd(nccl.status().message());
  if (json) {
    fmt::print("{}\n", report.dump());
    return 0;
  }
  fmt::print(
      "version          {}\ninstruction set  {}\ntorch build      {}\nbuilt with CUDA  {}\ndevices "
      "         {}\nthreads          {}\nNCCL             {}\n",
      kVersion, found.instruction_set, found.torch_build, found.cuda ? "yes" : "no", devices.dump(),
      std::thread::hardware_concurrency(),
      nccl.ok() ? report["nccl"].get<std::string>()
                : "none: " + std::string(ToStd(nccl.status().message())));
  for (const auto& [name, value] : watched.items()) fmt::print("  {}: {}\n", name, value.dump());
  for (const auto& [name, value] : report["nccl_settings"].items())
    fmt::print("  {}={}\n", name, value.get<std::string>());
  return 0;
}

}  // namespace

int RunWorkerProgram(int argc, char** argv) {
  torch_support::SetUpProcess();
  // These parse their own arguments.
  if (argc > 1 && std::string_view(argv[1]) == "replay")
    return replay::RunReplayCommand(argc - 1, argv + 1);
  if (argc > 1 && std::string_view(argv[1]) == "draw")
    return generate::RunDrawCommand(argc - 1, argv + 1);

  CLI::App app(
      "neolog-worker: computes for a Neolog cluster. Started by neolog; by hand it joins a "
      "coordinator.\n\n"
      "  neolog-worker run --coordinator unix:/path/coordinator.sock --id w0 --state-dir DIR\n"
      "  neolog-worker replay --model DIR --in CASE --out RESULT\n"
      "  neolog-worker doctor --json",
      "neolog-worker");
  app.require_subcommand(1);

  agent::RunOptions run;
  std::string log_level = "info";
  std::string log_format = "text";
  CLI::App* run_command = app.add_subcommand("run", "Joins a coordinator and works until it ends.");
  run_command
      ->add_option("--coordinator", run.coordinator, "The coordinator: unix:PATH or HOST:PORT.")
      ->envname("NEOLOG_COORDINATOR")
      ->required();
  run_command->add_option("--id", run.id, "The worker's name, unique in the cluster.")->required();
  run_command->add_option("--state-dir", run.state_dir, "The worker's own folder.")->required();
  run_command->add_option(
      "--fingerprint-cache", run.fingerprint_cache,
      "Keeps the hashes of model files; may be shared. Default: fingerprints.json in --state-dir.");
  run_command->add_option("--peer-listen", run.peer_listen,
                          "Where other workers reach this one: unix:PATH or a loopback HOST:PORT. "
                          "Default: a socket in --state-dir.");
  run_command->add_option("--threads", run.threads, "CPU threads it offers.")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  run_command->add_option("--device", run.device, "cpu, cuda:N, or a MIG instance (MIG-…).")
      ->capture_default_str();
  CollectiveOptions collective;
  run_command
      ->add_option(
          "--collective", collective.over,
          "What gradients are gathered over: peer (the workers' own streams), nccl, or auto: "
          "nccl on a GPU, where it can be had. A team uses it when every member has it.")
      ->check(CLI::IsMember({"auto", "peer", "nccl"}))
      ->envname("NEOLOG_COLLECTIVE")
      ->capture_default_str();
  run_command
      ->add_option("--nccl-library", collective.libraries.nccl,
                   "Another libnccl: a name that the loader finds, or a path.")
      ->envname("NEOLOG_NCCL_LIBRARY")
      ->capture_default_str();
  run_command->add_option("--cudart-library", collective.libraries.cudart, "Another CUDA runtime.")
      ->envname("NEOLOG_CUDART_LIBRARY")
      ->capture_default_str();
  run_command->add_option("--log-level", log_level, "trace, debug, info, warn, error or off.")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  run_command->add_option("--log-format", log_format, "text or json.")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();

  bool json = false;
  CLI::App* doctor = app.add_subcommand("doctor", "Says what this machine offers.");
  doctor->add_flag("--json", json, "As one JSON object.");
  app.add_subcommand("draw", "Draws the prompts of a file: see 'neolog-worker draw --help'.");
  app.add_subcommand("replay",
                     "Computes a case of the replay contract: see 'neolog-worker replay --help'.");
  CLI::App* version = app.add_subcommand("version", "Prints the version.");

  if (argc <= 1) {
    fmt::print(stderr, "{}", app.help());
    return kUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (version->parsed()) {
    fmt::print("{}\n", kVersion);
    return 0;
  }
  if (doctor->parsed()) return Doctor(json, collective.libraries);
  InitLogging("neolog-worker", log_level, log_format == "json");
  return Run(run, collective);
}

}  // namespace neolog
