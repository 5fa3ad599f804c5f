#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <filesystem>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/host_devices.h"
#include "coordinator/cli/progress.h"

namespace neolog::cli {
namespace {

/// Sleeps until a signal or the end of `pause`; the signal, or 0.
int PauseOrSignal(SignalPipe& signals, absl::Duration pause) {
  pollfd watched{signals.fd(), POLLIN, 0};
  poll(&watched, 1, static_cast<int>(absl::ToInt64Milliseconds(pause)));
  const auto taken = signals.Take();
  return taken.empty() ? 0 : taken.front();
}

ExitCode ExitOfSignal(int signal) { return signal == SIGINT ? kExitInterrupted : kExitTerminated; }

TableStyle StyleOf(const ListOptions& options, const Clock& clock) {
  return {options.format == OutputFormat::kWide, options.headers, clock.Now()};
}

void PrintRun(Console& console, const v1::RunInfo& run) {
  console.Note(fmt::format("{} ({}): {} at step {}/{}{}", run.spec().name(), run.run_id(),
                           StateName(run.state()), run.step(), run.total_steps(),
                           run.reason().empty() ? "" : ": " + run.reason()));
}

/// One line of a run's history.
std::string StepLine(const v1::StepRecord& step) {
  return fmt::format("step {}  loss {:.5f}  lr {:.3g}  grad {:.3g}\n", step.step(), step.loss(),
                     step.learning_rate(), step.gradient_norm());
}

}  // namespace

ExitCode StatusCommand(Context& context, const ListOptions& options) {
  auto session = ConnectExisting(context);
  if (!session.ok()) return Fail(context, session.status());
  auto signals = SignalPipe::Create({SIGINT, SIGTERM});
  if (!signals.ok()) return Fail(context, signals.status());
  for (;;) {
    const auto status = session->client->GetStatus();
    if (!status.ok()) return Fail(context, status.status());
    if (options.watch) context.console->ClearScreen();
    context.console->Print(FormatStatus(*status, options.format, StyleOf(options, *context.clock)));
    if (!options.watch) return kExitOk;
    if (const int signal = PauseOrSignal(**signals, absl::Seconds(1)); signal != 0)
      return ExitOfSignal(signal);
  }
}

ExitCode ListCommand(Context& context, const ListOptions& options) {
  auto session = ConnectExisting(context);
  if (!session.ok()) return Fail(context, session.status());
  const auto runs = session->client->ListRuns();
  if (!runs.ok()) return Fail(context, runs.status());
  context.console->Print(FormatRuns(*runs, options.format, StyleOf(options, *context.clock)));
  return kExitOk;
}

ExitCode WaitCommand(Context& context, const WaitOptions& options) {
  auto session = ConnectExisting(context);
  if (!session.ok()) return Fail(context, session.status());
  auto signals = SignalPipe::Create({SIGINT, SIGTERM});
  if (!signals.ok()) return Fail(context, signals.status());
  const auto run = FindRun(*session->client, options.run);
  if (!run.ok()) return Fail(context, run.status());
  const SteadyTime deadline =
      options.timeout_seconds ? context.clock->SteadyNow() + absl::Seconds(*options.timeout_seconds)
                              : absl::InfiniteDuration();
  const SteadyTime away_limit = absl::Minutes(2);
  SteadyTime heard = context.clock->SteadyNow();
  for (;;) {
    const auto now_run = session->client->GetRun(run->run_id());
    const SteadyTime now = context.clock->SteadyNow();
    if (now_run.ok()) {
      heard = now;
      if (IsAtRest(now_run->state())) {
        PrintRun(*context.console, *now_run);
        return ExitCodeOf(now_run->state());
      }
    } else if (!absl::IsUnavailable(now_run.status()) || now - heard > away_limit) {
      return Fail(context, now_run.status());
    }
    if (now >= deadline) {
      context.console->Error(
          fmt::format("run '{}' is still {} after {}", run->spec().name(),
                      now_run.ok() ? StateName(now_run->state()) : "out of reach",
                      FormatDuration(*options.timeout_seconds)));
      return kExitTimedOut;
    }
    const absl::Duration pause = std::min(absl::Milliseconds(200), deadline - now);
    if (const int signal = PauseOrSignal(**signals, pause); signal != 0)
      return ExitOfSignal(signal);
  }
}

ExitCode StopCommand(Context& context, const std::string& run) {
  auto session = ConnectExisting(context);
  if (!session.ok()) return Fail(context, session.status());
  const auto found = FindRun(*session->client, run);
  if (!found.ok()) return Fail(context, found.status());
  const auto stopped = session->client->StopRun(found->run_id());
  if (!stopped.ok()) return Fail(context, stopped.status());
  PrintRun(*context.console, *stopped);
  return kExitOk;
}

ExitCode PauseCommand(Context& context, const std::string& run) {
  auto session = ConnectExisting(context);
  if (!session.ok()) return Fail(context, session.status());
  const auto found = FindRun(*session->client, run);
  if (!found.ok()) return Fail(context, found.status());
  const auto paused = session->client->PauseRun(found->run_id());
  if (!paused.ok()) return Fail(context, paused.status());
  PrintRun(*context.console, *paused);
  return kExitOk;
}

ExitCode ResumeCommand(Context& context, const ResumeOptions& options) {
  auto signals = SignalPipe::Create({SIGINT, SIGTERM, SIGHUP});
  if (!signals.ok()) return Fail(context, signals.status());
  auto session = ConnectOrStart(context, /*on_demand=*/true);
  if (!session.ok()) return Fail(context, session.status());
  const auto found = FindRun(*session->client, options.run);
  if (!found.ok()) return Fail(context, found.status());
  // Before the run is resumed: it would wait for workers that this host cannot have.
  const v1::ResourceSpec& resources = found->spec().resources();
  absl::StatusOr<LocalPlan> plan = LocalPlan();
  if (session->cluster) {
    plan = PlanLocalWorkers(context.self_path, resources.device(),
                            options.workers.value_or(resources.workers()),
                            resources.threads_per_worker());
    if (!plan.ok()) return Fail(context, plan.status());
  }
  v1::ResumeRunRequest request;
  request.set_run_id(found->run_id());
  request.set_workers(options.workers.value_or(0));
  const auto run = session->client->ResumeRun(request);
  if (!run.ok()) return Fail(context, run.status());
  if (session->cluster) {
    const auto ensured = session->cluster->Ensure(plan->devices, resources.threads_per_worker());
    if (!ensured.ok()) return Fail(context, ensured.status());
  }
  PrintRun(*context.console, *run);
  if (options.detach) return kExitOk;
  return FollowToTheEnd(context, *session, *run, **signals);
}

ExitCode LogsCommand(Context& context, const LogsOptions& options) {
  Console& console = *context.console;
  if (options.run.empty() && !options.follow) {
    // The local cluster's own logs: files, so they can be read when it is down as well.
    if (!context.local()) {
      return Fail(
          context,
          InvalidArgument(
              "the logs of a coordinator on another host are there; name a run to see its steps"));
    }
    const auto dir = ResolveStateDir(context.env);
    if (!dir.ok()) return Fail(context, dir.status());
    std::vector<std::filesystem::path> files;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(dir->LogFolder(), error)) {
      if (entry.path().extension() == ".log") files.push_back(entry.path());
    }
    if (files.empty())
      return Fail(context, NotFound(fmt::format("no logs in '{}'", dir->LogFolder())));
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      console.Print(fmt::format("==> {} <==\n{}", file.string(),
                                TailOfFile(file.string(), static_cast<int>(options.tail))));
    }
    return kExitOk;
  }
  auto signals = SignalPipe::Create({SIGINT, SIGTERM, SIGHUP});
  if (!signals.ok()) return Fail(context, signals.status());
  auto session = ConnectExisting(context);
  if (!session.ok()) return Fail(context, session.status());
  const auto run = FindRun(*session->client, options.run);
  if (!run.ok()) return Fail(context, run.status());
  if (options.follow && !IsAtRest(run->state()))
    return FollowToTheEnd(context, *session, *run, **signals);
  v1::GetStepsRequest request;
  request.set_run_id(run->run_id());
  request.set_first_step(run->step() > options.tail ? run->step() - options.tail + 1 : 1);
  const auto steps = session->client->GetSteps(request);
  if (!steps.ok()) return Fail(context, steps.status());
  for (const v1::StepRecord& step : steps->steps()) console.Print(StepLine(step));
  PrintRun(console, *run);
  if (options.follow) PrintOutcome(context, *run);
  return options.follow ? ExitCodeOf(run->state()) : kExitOk;
}

}  // namespace neolog::cli
