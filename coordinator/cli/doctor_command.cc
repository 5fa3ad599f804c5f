#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "common/base/subprocess.h"
#include "common/base/version.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/host_devices.h"

namespace neolog::cli {
namespace {

using Json = nlohmann::ordered_json;

/// One thing that was looked at.
struct Check {
  std::string name;
  bool ok = true;
  std::string detail;
};

std::string Trim(std::string text) {
  text.erase(text.find_last_not_of(" \n\r\t") + 1);
  return text;
}

/// `ask` makes the program print its version.
Check CheckProgram(const std::string& path, const std::string& ask) {
  const std::string name = path.substr(path.rfind('/') + 1);
  SpawnOptions spawn;
  spawn.argv = {path, ask};
  const auto result = RunCommand(spawn, absl::Seconds(20));
  if (!result.ok()) return {name, false, std::string(result.status().message())};
  if (!result->exit.success()) {
    return {name, false,
            fmt::format("'{} {}' ended with {}: {}", path, ask, result->exit.ToString(),
                        Trim(result->err))};
  }
  const std::string version = Trim(result->out);
  if (version.find(kVersion) == std::string::npos) {
    return {
        name, false,
        fmt::format("{} is '{}', neolog is {}: install them together", path, version, kVersion)};
  }
  return {name, true, fmt::format("{} ({})", path, version)};
}

Check CheckDisk(const StateDir& dir) {
  struct statvfs info = {};
  std::string path = dir.root;
  while (statvfs(path.c_str(), &info) != 0 && path.size() > 1) {
    const size_t slash = path.rfind('/');
    path = slash == 0 ? "/" : path.substr(0, slash);
  }
  const double free_gb =
      static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize) / 1e9;
  return {"disk", free_gb > 0.5,
          fmt::format("{:.1f} GB free at {}{}", free_gb, path,
                      free_gb > 0.5 ? "" : ": pictures, checkpoints and the journal need room")};
}

Check CheckCluster(Context& context, const StateDir& dir) {
  if (!context.local()) {
    auto client = MakeGrpcClient(context.coordinator, absl::Seconds(3));
    const absl::Status status =
        client.ok() ? WaitForCoordinator(**client, absl::ZeroDuration()) : client.status();
    return {"coordinator", status.ok(),
            status.ok() ? context.coordinator + " answers" : std::string(status.message())};
  }
  auto cluster = LocalCluster::Connect(dir);
  if (absl::IsNotFound(cluster.status()))
    return {"cluster", true, "no local cluster runs; `neolog up` starts one"};
  if (!cluster.ok()) return {"cluster", false, std::string(cluster.status().message())};
  const auto info = (*cluster)->Info();
  if (!info.ok()) return {"cluster", false, std::string(info.status().message())};
  if (const Trouble trouble = TroubleOf(*info); !trouble.text.empty())
    return {"cluster", false, Trim(trouble.text)};
  auto client = MakeGrpcClient((*cluster)->target(), absl::Seconds(3));
  const absl::Status status =
      client.ok() ? WaitForCoordinator(**client, absl::Seconds(3)) : client.status();
  if (!status.ok()) return {"cluster", false, std::string(status.message())};
  return {
      "cluster", true,
      fmt::format("coordinator and {} workers run at {}", info->children.size() - 1, info->target)};
}

Check CheckDevices(const std::string& worker, Json& devices) {
  auto report = AskWorkerDoctor(worker);
  if (!report.ok()) return {"devices", false, std::string(report.status().message())};
  devices = std::move(report).value();
  std::string detail;
  for (const auto& [key, value] : devices.items()) {
    if (!detail.empty()) detail += ", ";
    detail += key + " " + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return {"devices", true, detail};
}

}  // namespace

ExitCode DoctorCommand(Context& context, OutputFormat format) {
  std::vector<Check> checks;
  Json devices;
  checks.push_back({"neolog", true, fmt::format("{} ({})", context.self_path, kVersion)});
  const std::string folder = context.self_path.substr(0, context.self_path.rfind('/'));
  const std::string worker = folder + "/neolog-worker";
  checks.push_back(CheckProgram(folder + "/neolog-coordinator", "--version"));
  checks.push_back(CheckProgram(worker, "version"));
  if (checks.back().ok) checks.push_back(CheckDevices(worker, devices));
  if (const auto dir = ResolveStateDir(context.env); dir.ok()) {
    const absl::Status state = CheckStateDir(*dir);
    checks.push_back(
        {"state folder", state.ok(), state.ok() ? dir->root : std::string(state.message())});
    checks.push_back(CheckDisk(*dir));
    checks.push_back(CheckCluster(context, *dir));
  } else {
    checks.push_back({"state folder", false, std::string(dir.status().message())});
  }

  bool all = true;
  for (const Check& check : checks) all = all && check.ok;
  if (format == OutputFormat::kJson) {
    Json json{{"ok", all}, {"version", kVersion}, {"checks", Json::array()}, {"devices", devices}};
    for (const Check& check : checks) {
      json["checks"].push_back({{"name", check.name}, {"ok", check.ok}, {"detail", check.detail}});
    }
    context.console->Print(json.dump(2) + "\n");
  } else {
    for (const Check& check : checks) {
      context.console->Print(fmt::format("{}  {:<20} {}\n",
                                         check.ok ? context.console->Paint("ok  ", kGreen, true)
                                                  : context.console->Paint("FAIL", kRed, true),
                                         check.name, check.detail));
    }
  }
  return all ? kExitOk : kExitUnexpected;
}

}  // namespace neolog::cli
