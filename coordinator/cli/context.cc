#include "coordinator/cli/context.h"

#include <fmt/format.h>

#include <filesystem>

#include "common/storage/run_directory.h"
#include "coordinator/cli/follow.h"
#include "coordinator/cli/progress.h"
#include "coordinator/cli/suggest.h"
#include "coordinator/cli/wait.h"

namespace neolog::cli {
namespace {

constexpr absl::Duration kLocalStart = absl::Seconds(20);

/// The embedding files of a run whose folder is on this host. The coordinator writes them just
/// after it says that the run ended, so they may need a moment.
std::vector<std::string> EmbeddingFiles(const v1::RunInfo& run, const RunDirectory& folder,
                                        const Clock& clock) {
  std::vector<std::string> expected;
  for (const std::string& format : run.spec().checkpoint().formats()) {
    const EmbeddingFormatFacts* facts = FindEmbeddingFormat(format);
    if (facts != nullptr) expected.push_back(folder.FinalEmbedding(facts->format));
  }
  const SteadyTime deadline = clock.SteadyNow() + absl::Seconds(10);
  std::vector<std::string> found;
  for (const std::string& path : expected) {
    if (WaitForFile(path, deadline - clock.SteadyNow())) found.push_back(path);
  }
  return found;
}

std::string CoordinatorFlag(const Context& context) {
  return context.local() || context.env("NEOLOG_COORDINATOR") == context.coordinator
             ? ""
             : " --coordinator " + context.coordinator;
}

}  // namespace

ExitCode Fail(Context& context, const absl::Status& status) {
  return Fail(context, status, ExitCodeOf(status));
}

ExitCode Fail(Context& context, const absl::Status& status, ExitCode code) {
  context.console->Error(ToStd(status.message()));
  return code;
}

absl::StatusOr<Session> ConnectExisting(Context& context) {
  Session session;
  std::string target = context.coordinator;
  if (context.local()) {
    ASSIGN_OR_RETURN(const StateDir dir, ResolveStateDir(context.env));
    auto cluster = LocalCluster::Connect(dir);
    if (absl::IsNotFound(cluster.status())) {
      return Unavailable(
          fmt::format("{}. Start one with `neolog up`, or name a coordinator with --coordinator or "
                      "NEOLOG_COORDINATOR",
                      ToStd(cluster.status().message())));
    }
    RETURN_IF_ERROR(cluster.status());
    session.cluster = *std::move(cluster);
    target = session.cluster->target();
    session.cluster->WaitForListener(kLocalStart);
  }
  ASSIGN_OR_RETURN(session.client, MakeGrpcClient(target));
  RETURN_IF_ERROR(
      WaitForCoordinator(*session.client, context.local() ? kLocalStart : absl::ZeroDuration()));
  return session;
}

absl::StatusOr<Session> ConnectOrStart(Context& context, bool on_demand) {
  if (!context.local()) return ConnectExisting(context);
  ASSIGN_OR_RETURN(const StateDir dir, ResolveStateDir(context.env));
  ASSIGN_OR_RETURN(const Programs programs, FindPrograms(context.self_path));
  Session session;
  ASSIGN_OR_RETURN(session.cluster,
                   LocalCluster::ConnectOrStart(dir, programs, on_demand, *context.console));
  session.cluster->WaitForListener(kLocalStart);
  ASSIGN_OR_RETURN(session.client, MakeGrpcClient(session.cluster->target()));
  const absl::Status reached = WaitForCoordinator(*session.client, kLocalStart);
  if (absl::IsUnavailable(reached)) {
    if (const auto info = session.cluster->Info(); info.ok()) {
      if (const Trouble trouble = TroubleOf(*info); !trouble.text.empty())
        return Unavailable(trouble.text);
    }
  }
  RETURN_IF_ERROR(reached);
  return session;
}

absl::StatusOr<v1::RunInfo> FindRun(Client& client, const std::string& run) {
  if (!run.empty()) {
    auto found = client.GetRun(run);
    if (!absl::IsNotFound(found.status())) return found;
  }
  ASSIGN_OR_RETURN(const v1::ListRunsResponse runs, client.ListRuns());
  if (run.empty()) {
    if (runs.runs().empty())
      return NotFound("there are no runs yet; start one with `neolog train FILE`");
    return runs.runs(0);
  }
  std::vector<std::string> names;
  for (const v1::RunInfo& info : runs.runs()) {
    names.push_back(info.spec().name());
    names.push_back(info.run_id());
  }
  const std::string nearest = Nearest(run, names);
  return NotFound(
      fmt::format("no run '{}'{}; `neolog list` shows all", run,
                  nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest)));
}

void PrintOutcome(Context& context, const v1::RunInfo& run) {
  Console& console = *context.console;
  const std::string& name = run.spec().name();
  const std::string word = run.spec().word_size() > 0 ? run.spec().word(0).name() : name;
  const std::string steps = fmt::format("{} of {} steps", run.step(), run.total_steps());
  switch (run.state()) {
    case v1::RUN_STATE_COMPLETED: {
      const double seconds =
          static_cast<double>(run.ended_at().seconds() - run.started_at().seconds()) +
          1e-9 * (run.ended_at().nanos() - run.started_at().nanos());
      console.Note(fmt::format(
          "{} '{}' is learned: {} steps{}, loss {:.4f}", console.Paint("done:", kGreen, false),
          word, run.step(),
          run.has_started_at() && run.has_ended_at() ? " in " + FormatDuration(seconds) : "",
          run.smoothed_loss()));
      break;
    }
    case v1::RUN_STATE_FAILED:
      console.Error(fmt::format("run '{}' failed after {}: {}", name, steps,
                                run.has_failure() ? run.failure().message() : run.reason()));
      break;
    case v1::RUN_STATE_STOPPED:
      console.Note(fmt::format("run '{}' was stopped after {}: {}", name, steps, run.reason()));
      break;
    case v1::RUN_STATE_PAUSED:
      console.Note(fmt::format("run '{}' is paused after {}; go on with:  neolog resume {}", name,
                               steps, name));
      return;
    default: return;
  }
  if (run.log_dir().empty()) return;
  console.Note(fmt::format("Everything is in {}", run.log_dir()));
  const std::string log_dir = std::filesystem::path(run.log_dir()).parent_path().string();
  const RunDirectory folder(log_dir, std::filesystem::path(run.log_dir()).filename().string(),
                            word);
  const std::vector<std::string> files = EmbeddingFiles(run, folder, *context.clock);
  for (const std::string& path : files) console.Print(path + "\n");
  const std::string first = files.empty() ? "" : files.front();
  if (!first.empty() && run.state() == v1::RUN_STATE_COMPLETED) {
    console.Note(
        fmt::format("Next: copy {} into the embeddings folder of your Stable Diffusion program and "
                    "type '{}' in a "
                    "prompt.",
                    first, FileStem(word)));
  } else if (run.state() != v1::RUN_STATE_COMPLETED) {
    console.Note(fmt::format("To try again from the last good step:  neolog resume {}", name));
  }
}

ExitCode FollowToTheEnd(Context& context, Session& session, const v1::RunInfo& run,
                        SignalPipe& signals) {
  FollowOptions options;
  options.run_id = run.run_id();
  const std::string flag = CoordinatorFlag(context);
  options.reattach_command = fmt::format("neolog logs -f {}{}", run.run_id(), flag);
  options.stop_command = fmt::format("neolog stop {}{}", run.run_id(), flag);
  if (session.cluster) {
    options.trouble = [&session] {
      const auto info = session.cluster->Info();
      return info.ok() ? TroubleOf(*info)
                       : Trouble{"supervisor", std::string(info.status().message()), false};
    };
  }
  const FollowResult result =
      FollowRun(*session.client, *context.console, signals, *context.clock, options);
  if (!result.detached) PrintOutcome(context, result.run);
  return result.code;
}

}  // namespace neolog::cli
