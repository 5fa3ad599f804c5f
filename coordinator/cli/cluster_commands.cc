#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>

#include "common/base/log.h"
#include "common/base/version.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/host_devices.h"
#include "coordinator/cli/supervisor.h"
#include "coordinator/cli/wait.h"

namespace neolog::cli {
namespace {

constexpr absl::Duration kJoinTimeout = absl::Seconds(20);

/// Tells the process that started us to go on: "ready", then the end of the stream.
void SayReady() {
  std::cout << "ready\n" << std::flush;
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null >= 0) dup2(null, STDOUT_FILENO);
  if (null > 2) close(null);
}

/// Waits until that many workers have joined. FailedPrecondition with what is wrong when they keep
/// dying; Unavailable when they need longer than is worth waiting for.
absl::Status WaitForWorkers(Session& session, size_t workers) {
  // Whether they all are there; false: not yet.
  const auto look = [&]() -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(const v1::GetStatusResponse status, session.client->GetStatus());
    size_t live = 0;
    for (const v1::WorkerInfo& worker : status.workers()) live += worker.state() == "lost" ? 0 : 1;
    if (live >= workers) return true;
    ASSIGN_OR_RETURN(const SupervisorReply info, session.cluster->Info());
    if (const Trouble trouble = TroubleOf(info); !trouble.text.empty())
      return FailedPrecondition(trouble.text);
    return false;
  };
  absl::StatusOr<bool> joined = false;
  PollUntil(
      [&] {
        joined = look();
        return !joined.ok() || *joined;
      },
      absl::Milliseconds(50), kJoinTimeout);
  RETURN_IF_ERROR(joined);
  return *joined ? absl::OkStatus()
                 : Unavailable("workers have not joined yet; `neolog status` shows them");
}

}  // namespace

ExitCode UpCommand(Context& context, const UpOptions& options) {
  if (!context.local()) {
    return Fail(
        context,
        InvalidArgument(
            "`up` starts a local cluster and takes no --coordinator; unset NEOLOG_COORDINATOR"));
  }
  const auto plan = PlanLocalWorkers(context.self_path, options.device, options.workers.value_or(0),
                                     options.threads);
  if (!plan.ok()) return Fail(context, plan.status());
  auto session = ConnectOrStart(context, /*on_demand=*/false);
  if (!session.ok()) return Fail(context, session.status());
  if (auto kept = session->cluster->Keep(); !kept.ok()) return Fail(context, kept);
  const auto info = session->cluster->Ensure(plan->devices, options.threads);
  if (!info.ok()) return Fail(context, info.status());
  if (auto joined = WaitForWorkers(*session, info->children.size() - 1); !joined.ok()) {
    return Fail(context, joined, kExitUnexpected);
  }
  context.console->Note(fmt::format(
      "{} with {} worker{} at {}", session->cluster->started_here() ? "started" : "running",
      info->children.size() - 1, info->children.size() == 2 ? "" : "s", info->target));
  context.console->Note("Next:  neolog train FILE   or   neolog status;   neolog down ends it");
  return kExitOk;
}

ExitCode DownCommand(Context& context) {
  if (!context.local()) {
    return Fail(
        context,
        InvalidArgument(
            "`down` ends the local cluster and takes no --coordinator; unset NEOLOG_COORDINATOR"));
  }
  const auto dir = ResolveStateDir(context.env);
  if (!dir.ok()) return Fail(context, dir.status());
  auto cluster = LocalCluster::Connect(*dir);
  if (absl::IsNotFound(cluster.status())) {
    context.console->Note("no local cluster runs");
    return kExitOk;
  }
  // A supervisor of another version speaks the same four requests: end it all the same.
  if (!cluster.ok() && absl::IsFailedPrecondition(cluster.status())) {
    auto connection = SupervisorConnection::Connect(dir->SupervisorSocket());
    if (!connection.ok()) return Fail(context, connection.status());
    if (auto told = (*connection)->Call({SupervisorRequest::Op::kDown}); !told.ok())
      return Fail(context, told.status());
    if (auto gone = (*connection)->WaitClosed(absl::Seconds(30)); !gone.ok())
      return Fail(context, gone);
  } else if (!cluster.ok()) {
    return Fail(context, cluster.status());
  } else if (auto gone = (*cluster)->Down(absl::Seconds(30)); !gone.ok()) {
    return Fail(context, gone, kExitUnexpected);
  }
  context.console->Note("the local cluster is down; unfinished runs go on with `neolog up`");
  return kExitOk;
}

ExitCode SuperviseCommand(Context& context, const SuperviseOptions& options) {
  InitLogging("neolog-supervisor", "info", false);
  const auto dir = ResolveStateDir(context.env);
  if (!dir.ok()) return Fail(context, dir.status());
  const auto programs = FindPrograms(context.self_path);
  if (!programs.ok()) return Fail(context, programs.status());
  auto signals = SignalPipe::Create({SIGTERM, SIGINT, SIGHUP});
  if (!signals.ok()) return Fail(context, signals.status());
  auto client = MakeGrpcClient(dir->CoordinatorTarget(), absl::Seconds(1));
  if (!client.ok()) return Fail(context, client.status());

  Supervisor::Options supervisor_options;
  supervisor_options.dir = *dir;
  supervisor_options.coordinator_program = programs->coordinator;
  supervisor_options.worker_program = programs->worker;
  supervisor_options.on_demand = options.on_demand;
  supervisor_options.linger = absl::Seconds(options.linger_seconds);
  SystemClock clock;
  auto supervisor = Supervisor::Create(
      supervisor_options,
      [&]() -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const auto runs, (*client)->ListRuns());
        for (const v1::RunInfo& run : runs.runs()) {
          if (IsActive(run.state())) return true;
        }
        return false;
      },
      &clock);
  if (!supervisor.ok()) return Fail(context, supervisor.status());
  SayReady();
  (*supervisor)->Run(**signals);
  return kExitOk;
}

ExitCode VersionCommand(Context& context) {
  context.console->Print(fmt::format("neolog {}\n", kVersion));
  return kExitOk;
}

}  // namespace neolog::cli
