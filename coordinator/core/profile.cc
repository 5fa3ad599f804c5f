#include "coordinator/core/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace neolog::coordinator {
namespace {

bool Offers(const v1::WorkerCapabilities& worker, const std::string& precision) {
  return std::find(worker.precisions().begin(), worker.precisions().end(), precision) !=
         worker.precisions().end();
}

}  // namespace

v1::NumericProfile ResolveProfile(const v1::RunSpec& spec, const v1::WorkerCapabilities& worker) {
  v1::NumericProfile profile;
  if (spec.training().reduce() != "fast") {
    profile.set_instruction_set(worker.instruction_set());
    profile.set_torch_build(worker.torch_build());
    profile.set_device(worker.device());
  }
  profile.set_precision(spec.model().precision());
  profile.set_threads_per_worker(spec.resources().threads_per_worker());
  profile.set_microbatch(spec.training().microbatch());
  profile.set_layout("nchw");
  return profile;
}

std::string WhyNot(const v1::NumericProfile& profile, const v1::WorkerCapabilities& worker) {
  for (const auto& [what, worker_has, run_has] :
       {std::tuple("instruction set", &worker.instruction_set(), &profile.instruction_set()),
        std::tuple("libtorch build", &worker.torch_build(), &profile.torch_build()),
        std::tuple("device", &worker.device(), &profile.device())}) {
    if (run_has->empty() || *run_has == *worker_has) continue;
    return fmt::format(
        "its {} is '{}', the run is bound to '{}' (training.reduce: fast would take "
        "both)",
        what, *worker_has, *run_has);
  }
  if (profile.threads_per_worker() != worker.threads()) {
    return fmt::format("it has {} threads, the run is bound to {}: start it with --threads {}",
                       worker.threads(), profile.threads_per_worker(),
                       profile.threads_per_worker());
  }
  if (!Offers(worker, profile.precision()))
    return fmt::format(
        "it does not compute in {}{}", profile.precision(),
        profile.precision() == "bf16" ? ": model.precision fp16 is for such a GPU" : "");
  return "";
}

std::string WhyNot(const Run& run, const v1::WorkerCapabilities& worker) {
  const std::string& device = run.spec.resources().device();
  if ((device == "cpu") != (worker.device() == "cpu")) {
    return fmt::format("its device is '{}', the run asks for '{}'", worker.device(), device);
  }
  return WhyNot(run.profile ? *run.profile : ResolveProfile(run.spec, worker), worker);
}

std::string WhyNot(const Run& run, const Worker& worker) {
  const auto barred = run.barred.find(IncarnationOf(worker.identity));
  if (barred != run.barred.end()) return barred->second;
  return WhyNot(run, worker.info.capabilities());
}

bool SameProfile(const v1::NumericProfile& a, const v1::NumericProfile& b) {
  return a.instruction_set() == b.instruction_set() && a.torch_build() == b.torch_build() &&
         a.device() == b.device() && a.precision() == b.precision() &&
         a.threads_per_worker() == b.threads_per_worker() && a.microbatch() == b.microbatch() &&
         a.attention() == b.attention() && a.layout() == b.layout();
}

}  // namespace neolog::coordinator
