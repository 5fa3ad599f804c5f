// neolog-test-worker: the real agent, session and peer collective around a trainer without a model,
// so that tests can kill processes at every moment of a run that takes milliseconds a step and
// needs no libtorch.

#include <cstdlib>
#include <string>

#include "common/base/log.h"
#include "tests/worker/session/fake_trainer.h"
#include "worker/agent/run_command.h"

// Arguments: COORDINATOR ID STATE_DIR MICROSECONDS_PER_MICROBATCH [no-model | bad-run=NAME]
// NEOLOG_NCCL_LIBRARY: a libnccl, with a CUDA runtime in it, that it gathers over.
// no-model: nothing can be prepared here. bad-run: the inputs of that run cannot be used.
int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  neolog::InitLogging("neolog-test-worker", "info", false);
  neolog::agent::Compute compute;
  compute.capabilities.set_instruction_set("none");
  compute.capabilities.set_torch_build("none");
  compute.capabilities.set_device("cpu");
  compute.capabilities.set_threads(1);
  compute.capabilities.add_precisions("fp32");
  neolog::testing::FakeTrainerOptions trainer{.microbatch_time =
                                                  absl::Microseconds(std::atoi(argv[4]))};
  // A libnccl to gather over.
  if (const char* library = std::getenv("NEOLOG_NCCL_LIBRARY"); library != nullptr) {
    auto loaded = neolog::collective::nccl::Load({.nccl = library, .cudart = library});
    if (!loaded.ok()) return 2;
    compute.nccl.libraries = std::move(loaded).value();
  }
  const std::string fault = argc == 6 ? argv[5] : "";
  if (fault == "no-model")
    trainer.prepare_error = neolog::NotFound("there is no model on this host");
  if (fault.starts_with("bad-run="))
    trainer.bad_runs[fault.substr(8)] = neolog::InvalidArgument("its prompts lack the word");
  compute.make_trainer =
      [trainer](const neolog::agent::RunOptions&,
                neolog::BlobStore*) -> absl::StatusOr<std::unique_ptr<neolog::session::Trainer>> {
    return std::make_unique<neolog::testing::FakeTrainer>(trainer);
  };
  return neolog::agent::RunWorker({.coordinator = argv[1], .id = argv[2], .state_dir = argv[3]},
                                  compute);
}
