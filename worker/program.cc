#include "worker/program.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "common/base/log.h"
#include "common/base/version.h"
#include "worker/agent/run_command.h"
#include "worker/generate/draw_command.h"
#include "worker/replay/replay_command.h"
#include "worker/torch_support/device.h"
#include "worker/torch_support/runtime.h"
#include "worker/train/pack_trainer.h"

namespace neolog {
namespace {

constexpr int kUsage = 2;

agent::Compute RealCompute(const agent::RunOptions& options) {
  const torch_support::Capabilities found = torch_support::GetCapabilities();
  agent::Compute compute;
  compute.capabilities.set_instruction_set(found.instruction_set);
  compute.capabilities.set_torch_build(found.torch_build);
  compute.capabilities.set_device(options.device);
  compute.capabilities.set_threads(options.threads);
  for (const char* precision : {"fp32", "bf16"}) compute.capabilities.add_precisions(precision);
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

int Run(const agent::RunOptions& options) {
  if (const auto device = torch_support::SelectDevice(options.device); !device.ok()) {
    fmt::print(stderr, "neolog-worker: --device: {}\n", ToStd(device.status().message()));
    return kUsage;
  }
  return agent::RunWorker(options, RealCompute(options));
}

int Doctor(bool json) {
  const torch_support::Capabilities found = torch_support::GetCapabilities();
  nlohmann::json devices = nlohmann::json::array({"cpu"});
  for (int i = 0; torch_support::SelectDevice(fmt::format("cuda:{}", i)).ok(); ++i)
    devices.push_back(fmt::format("cuda:{}", i));
  nlohmann::json report = {{"version", kVersion},
                           {"instruction_set", found.instruction_set},
                           {"torch_build", found.torch_build},
                           {"cuda_build", found.cuda},
                           {"devices", devices},
                           {"threads", std::thread::hardware_concurrency()}};
  if (json) {
    fmt::print("{}\n", report.dump());
    return 0;
  }
  fmt::print(
      "version          {}\ninstruction set  {}\ntorch build      {}\nbuilt with CUDA  {}\ndevices "
      "         {}\nthreads          {}\n",
      kVersion, found.instruction_set, found.torch_build, found.cuda ? "yes" : "no", devices.dump(),
      std::thread::hardware_concurrency());
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
  run_command->add_option("--device", run.device, "cpu or cuda:N.")->capture_default_str();
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
  if (doctor->parsed()) return Doctor(json);
  InitLogging("neolog-worker", log_level, log_format == "json");
  return Run(run);
}

}  // namespace neolog
