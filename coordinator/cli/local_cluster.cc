#include "coordinator/cli/local_cluster.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "common/base/process.h"
#include "common/base/subprocess.h"
#include "common/base/version.h"
#include "common/rpc/version_check.h"
#include "coordinator/cli/wait.h"

namespace neolog::cli {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(20);

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// Starts the supervisor and waits until it listens: it writes "ready" and closes its standard
/// output then.
absl::Status StartSupervisor(const StateDir& dir, const Programs& programs, bool on_demand) {
  SpawnOptions spawn;
  spawn.argv = {programs.neolog, "supervise"};
  if (on_demand) spawn.argv.push_back("--on-demand");
  spawn.env = {{"NEOLOG_STATE_DIR", dir.root}};
  spawn.cwd = "/";
  spawn.stdout_to = OutputTo::Pipe();
  spawn.stderr_to = OutputTo::File(dir.Log("supervisor"));
  spawn.new_session = true;
  ASSIGN_OR_RETURN(auto supervisor, Subprocess::Spawn(spawn));
  ASSIGN_OR_RETURN_WITH(const auto output, supervisor->ReadOutput(kStartTimeout),
                        "starting the local cluster");
  if (output.out == "ready\n") {
    supervisor->Release();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN_WITH(const ExitStatus exit, supervisor->Wait(kStartTimeout),
                        "starting the local cluster");
  return Internal(
      fmt::format("the local cluster's supervisor ended with {}; its log '{}' ends with:\n{}",
                  exit.ToString(), dir.Log("supervisor"), TailOfFile(dir.Log("supervisor"), 5)));
}

}  // namespace

absl::StatusOr<Programs> FindPrograms(const std::string& self_path) {
  const std::string folder = FolderOf(self_path);
  Programs programs{self_path, folder + "/neolog-coordinator", folder + "/neolog-worker"};
  std::string missing;
  for (const std::string& path : {programs.coordinator, programs.worker}) {
    if (access(path.c_str(), X_OK) != 0) missing += (missing.empty() ? "'" : " and '") + path + "'";
  }
  if (!missing.empty()) {
    return NotFound(
        fmt::format("{} not found: the programs of neolog lie in one folder; install them "
                    "together, or name a running coordinator with "
                    "--coordinator",
                    missing));
  }
  return programs;
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Connect(const StateDir& dir) {
  RETURN_IF_ERROR(CheckStateDir(dir));
  ASSIGN_OR_RETURN(auto connection, SupervisorConnection::Connect(dir.SupervisorSocket()));
  ASSIGN_OR_RETURN(const SupervisorReply info, connection->Call({}));
  RETURN_IF_ERROR_WITH(CheckVersion(kVersion, info.version, "the local cluster that runs"),
                       "stop it with its own `neolog down` first");
  return std::unique_ptr<LocalCluster>(new LocalCluster(dir, std::move(connection), info.target));
}

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::ConnectOrStart(const StateDir& dir,
                                                                           const Programs& programs,
                                                                           bool on_demand,
                                                                           Console& console) {
  RETURN_IF_ERROR(PrepareStateDir(dir));
  auto running = Connect(dir);
  if (running.ok() || !absl::IsNotFound(running.status())) return running;
  console.Detail(fmt::format("starting a local cluster in '{}'", dir.root));
  const absl::Status started = StartSupervisor(dir, programs, on_demand);
  auto cluster = Connect(dir);  // also when another process was faster
  if (!cluster.ok()) return started.ok() ? cluster.status() : started;
  (*cluster)->started_here_ = started.ok();
  return cluster;
}

absl::StatusOr<SupervisorReply> LocalCluster::Ensure(const std::vector<std::string>& devices,
                                                     uint32_t threads) {
  return connection_->Call({SupervisorRequest::Op::kEnsure, devices, threads});
}

bool LocalCluster::WaitForListener(absl::Duration timeout) {
  return PollUntil([&] { return SupervisorConnection::Connect(dir_.CoordinatorSocket()).ok(); },
                   absl::Milliseconds(10), timeout);
}

absl::Status LocalCluster::Keep() {
  return connection_->Call({SupervisorRequest::Op::kKeep}).status();
}

absl::StatusOr<SupervisorReply> LocalCluster::Info() {
  return connection_->Call({SupervisorRequest::Op::kInfo});
}

absl::Status LocalCluster::Down(absl::Duration timeout) {
  RETURN_IF_ERROR(connection_->Call({SupervisorRequest::Op::kDown}).status());
  return connection_->WaitClosed(timeout);
}

Trouble TroubleOf(const SupervisorReply& info) {
  constexpr uint32_t kHopeless = 6;
  Trouble trouble;
  size_t workers = 0;
  size_t hopeless_workers = 0;
  for (const ChildInfo& child : info.children) {
    const bool coordinator = child.name == "coordinator";
    workers += coordinator ? 0 : 1;
    if (child.restarts < 2) continue;
    if (child.restarts >= kHopeless) {
      hopeless_workers += coordinator ? 0 : 1;
      trouble.hopeless = trouble.hopeless || coordinator;
    }
    trouble.who += child.name + " ";
    trouble.text +=
        fmt::format("{} keeps ending ({}, {} times); its log '{}' ends with:\n{}", child.name,
                    child.last_exit, child.restarts, child.log, TailOfFile(child.log, 3));
  }
  if (!trouble.text.empty() && trouble.text.back() == '\n') trouble.text.pop_back();
  trouble.hopeless = trouble.hopeless || (workers > 0 && hopeless_workers == workers);
  return trouble;
}

std::string TailOfFile(const std::string& path, int lines) {
  constexpr std::streamoff kWindow = 64 << 10;
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  file.seekg(0, std::ios::end);
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - kWindow));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!text.empty() && text.back() != '\n') text += '\n';
  size_t begin = text.size();
  for (int left = lines; left > 0 && begin > 0; --left) {
    const size_t newline = begin >= 2 ? text.rfind('\n', begin - 2) : std::string::npos;
    begin = newline == std::string::npos ? 0 : newline + 1;
  }
  return text.substr(begin);
}

}  // namespace neolog::cli
