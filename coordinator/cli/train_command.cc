#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "common/base/hash.h"
#include "common/config/settings_text.h"
#include "common/storage/posix_file_system.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/host_devices.h"
#include "coordinator/cli/inputs.h"
#include "coordinator/cli/run_file.h"

namespace neolog::cli {
namespace {

std::string Plural(int64_t n, const std::string& what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

/// The signal that came while nothing was submitted yet, as an exit code; kExitOk when none came.
ExitCode Interrupted(Context& context, SignalPipe& signals) {
  const auto taken = signals.Take();
  if (taken.empty()) return kExitOk;
  context.console->Error("interrupted; nothing was submitted");
  return taken.front() == SIGINT ? kExitInterrupted : kExitTerminated;
}

/// An estimate does not forbid a run: a microbatch may fit into memory that it does not know of.
void WarnOfMemory(Context& context, const LocalPlan& plan, const Inputs& inputs,
                  const v1::RunSpec& spec) {
  const int64_t microbatch = std::max<int64_t>(1, spec.training().microbatch());
  if (!inputs.memory || plan.memory_each == 0 ||
      inputs.memory->Total(microbatch) <= plan.memory_each)
    return;
  context.console->Warn(
      fmt::format("{}{}", DescribeShortage(*inputs.memory, microbatch, plan.memory_each),
                  plan.devices.size() > 1 && plan.devices.front() == "cpu"
                      ? fmt::format(", or fewer than {} workers, who share it (resources.workers)",
                                    plan.devices.size())
                      : ""));
}

}  // namespace

ExitCode TrainCommand(Context& context, const TrainOptions& options) {
  Console& console = *context.console;
  auto signals = SignalPipe::Create({SIGINT, SIGTERM, SIGHUP});
  if (!signals.ok()) return Fail(context, signals.status());
  const auto fs = MakePosixFileSystem();

  // Everything is checked before anything starts.
  std::vector<std::string> settings = options.settings;
  if (options.workers) settings.push_back(fmt::format("resources.workers={}", *options.workers));
  RunFile run_file = ReadRunFile(context, options.file, settings, *fs);
  InputDependencies dependencies = RealDependencies(context, *fs);
  dependencies.check_log_dir = options.idempotency_key.empty();
  const Inputs inputs = CheckInputs(run_file.config, dependencies);
  if (!run_file.config.ok()) return PrintConfigErrors(context, run_file.config);
  for (const std::string& warning : inputs.warnings) console.Warn(warning);
  const v1::RunSpec& spec = run_file.config.spec;
  console.Note(fmt::format("'{}' from {}, {}, on '{}'", spec.word(0).name(),
                           Plural(spec.data().samples_size(), "picture"),
                           Plural(spec.training().steps(), "step"), spec.model().path()));
  const v1::ResourceSpec& resources = spec.resources();
  absl::StatusOr<LocalPlan> plan = LocalPlan();
  if (context.local()) {
    plan = PlanLocalWorkers(context.self_path, resources.device(), resources.workers(),
                            resources.threads_per_worker());
    if (!plan.ok()) return Fail(context, plan.status());
    if (spec.model().precision() == "bf16" && !plan->without_bfloat16.empty()) {
      return Fail(context, InvalidArgument(fmt::format(
                               "model.precision: bf16: {} does not compute in it; use fp16",
                               plan->without_bfloat16)));
    }
    WarnOfMemory(context, *plan, inputs, spec);
  }
  if (options.dry_run) {
    console.Note("everything is in order; nothing was started (--dry-run)");
    return kExitOk;
  }
  if (const ExitCode code = Interrupted(context, **signals); code != kExitOk) return code;

  auto session = ConnectOrStart(context, /*on_demand=*/true);
  if (!session.ok()) return Fail(context, session.status());
  if (session->cluster) {
    const auto ensured = session->cluster->Ensure(plan->devices, resources.threads_per_worker());
    if (!ensured.ok()) return Fail(context, ensured.status());
    console.Detail(fmt::format("local cluster with {} at {}",
                               Plural(plan->devices.size(), "worker"), ensured->target));
  }

  bool interrupted = false;
  ExitCode code = kExitOk;
  const absl::Status uploaded = UploadPictures(inputs.pictures, *fs, session->client->blobs(), [&] {
    code = Interrupted(context, **signals);
    interrupted = code != kExitOk;
    return !interrupted;
  });
  if (interrupted) return code;
  if (!uploaded.ok()) return Fail(context, uploaded);

  v1::SubmitRunRequest request;
  *request.mutable_spec() = spec;
  // A key even when the user gave none: a submission that is sent again after a broken connection
  // stays one run.
  request.set_idempotency_key(options.idempotency_key.empty()
                                  ? fmt::format("{:016x}{:016x}", RandomBits64(), RandomBits64())
                                  : options.idempotency_key);
  auto run = session->client->SubmitRun(request);
  if (absl::IsUnavailable(run.status())) run = session->client->SubmitRun(request);
  if (!run.ok()) return Fail(context, run.status());
  console.Note(fmt::format("run {} is accepted", run->run_id()));
  if (options.detach) {
    console.Print(run->run_id() + "\n");
    console.Note(fmt::format("To follow it:  neolog logs -f {}", run->run_id()));
    return kExitOk;
  }
  return FollowToTheEnd(context, *session, *run, **signals);
}

}  // namespace neolog::cli
