// One run on one worker, without coordinator and network: start-up and step time of the trainer
// itself.
//
//   step_bench --model FOLDER --pictures FOLDER [--precision fp32|bf16|fp16] [--resolution N]
//              [--batch B] [--microbatch M] [--steps N] [--threads N] [--device cpu|cuda:N]
//              [--cuda-graph auto|on|off]
//
// Prints one JSON line {"step": n, "seconds": s, "encoded": pictures} after every step, as
// tests/bench/step_vs_diffusers.py expects: a picture is encoded in the step that first needs it,
// and "encoded" says how many this step did. What came before the first step is said on standard
// error, and so is the peak of device memory at the end.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "common/storage/memory_blob_store.h"
#include "tests/support/scoped_dir.h"
#include "worker/torch_support/cuda/cuda_devices.h"
#include "worker/torch_support/device.h"
#include "worker/torch_support/runtime.h"
#include "worker/train/pack_trainer.h"

namespace {

using neolog::session::MicrobatchRange;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Arguments {
  std::string model;
  std::string pictures;
  std::string precision = "fp32";
  std::string device = "cpu";
  std::string cuda_graph = "auto";
  std::string word = "<neolog>";
  uint32_t resolution = 512;
  uint32_t batch = 1;
  uint32_t microbatch = 1;
  uint32_t steps = 5;
  uint32_t threads = 2;
};

absl::StatusOr<neolog::v1::Assignment> MakeAssignment(const Arguments& arguments,
                                                      neolog::BlobStore& blobs) {
  neolog::v1::Assignment assignment;
  assignment.set_team_id("bench");
  neolog::v1::RunAssignment& run = *assignment.add_runs();
  run.set_run_id("bench");
  neolog::v1::RunSpec& spec = *run.mutable_spec();
  spec.set_name("bench");
  spec.mutable_model()->set_path(arguments.model);
  spec.mutable_model()->set_precision(arguments.precision);
  auto& word = *spec.add_word();
  word.set_name(arguments.word);
  word.set_vectors(1);
  auto& data = *spec.mutable_data();
  data.set_prompts("object");
  data.set_resolution(arguments.resolution);
  data.add_templates("a photo of a " + arguments.word);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(arguments.pictures)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    auto& sample = *data.add_samples();
    ASSIGN_OR_RETURN(*sample.mutable_image_digest(),
                     blobs.Put(neolog::testing::ReadFileOrDie(file.string())));
    sample.set_file_name(file.filename().string());
  }
  auto& training = *spec.mutable_training();
  training.set_steps(arguments.steps);
  training.set_batch_size(arguments.batch);
  training.set_gradient_accumulation(1);
  training.set_microbatch(arguments.microbatch);
  training.set_learning_rate("5e-4");
  training.set_schedule("constant");
  training.set_beta1(0.9);
  training.set_beta2(0.999);
  training.set_epsilon(1e-8);
  training.set_weight_decay(0.01);
  training.set_reduce("ordered");
  spec.mutable_resources()->set_threads_per_worker(arguments.threads);
  spec.mutable_resources()->set_device(arguments.device);
  spec.mutable_resources()->set_cuda_graph(arguments.cuda_graph);
  return assignment;
}

absl::Status Run(const Arguments& arguments) {
  const auto start = Clock::now();
  neolog::torch_support::SetUpProcess();
  neolog::MemoryBlobStore blobs;
  neolog::train::PackTrainerOptions options;
  options.threads = static_cast<int>(arguments.threads);
  options.device = arguments.device;
  options.blobs = &blobs;
  ASSIGN_OR_RETURN(auto trainer, neolog::train::CreatePackTrainer(options));
  ASSIGN_OR_RETURN(const auto assignment, MakeAssignment(arguments, blobs));
  RETURN_IF_ERROR(trainer->Prepare(assignment));
  std::fprintf(stderr, "model loaded after %.2f s\n", SecondsSince(start));
  while (!trainer->ActiveRuns().empty()) {
    const auto step_start = Clock::now();
    const MicrobatchRange all{0, trainer->MicrobatchCount()};
    const std::vector<std::string> missing = trainer->MissingLatents(all);
    for (const std::string& key : missing) {
      ASSIGN_OR_RETURN(const std::string posterior, trainer->EncodeLatent(key));
      RETURN_IF_ERROR(trainer->SetLatent(key, posterior));
    }
    ASSIGN_OR_RETURN(const std::string payload, trainer->ComputeMicrobatches(all));
    ASSIGN_OR_RETURN(const auto steps, trainer->ApplyStep(payload));
    if (steps.at(0).refused) return neolog::Internal(steps[0].failure.message());
    std::printf(
        "{\"step\": %u, \"seconds\": %.4f, \"encoded\": %zu, \"loss\": %.6f, \"state\": "
        "\"%016llx\"}\n",
        static_cast<unsigned>(steps[0].record.step()), SecondsSince(step_start), missing.size(),
        steps[0].record.loss(), static_cast<unsigned long long>(steps[0].record.state_hash()));
    std::fflush(stdout);
  }
  ASSIGN_OR_RETURN(const c10::Device device, neolog::torch_support::SelectDevice(arguments.device));
  if (device.is_cuda()) {
    ASSIGN_OR_RETURN(const uint64_t peak, neolog::torch_support::PeakCudaMemory(device.index()));
    std::fprintf(stderr, "peak device memory %.3f GB\n", static_cast<double>(peak) / 1e9);
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Start-up and step time of one run on one worker."};
  app.add_option("--model", arguments.model, "diffusers folder")->required();
  app.add_option("--pictures", arguments.pictures, "folder of pictures")->required();
  app.add_option("--precision", arguments.precision, "fp32, bf16 or fp16");
  app.add_option("--word", arguments.word, "the placeholder");
  app.add_option("--resolution", arguments.resolution, "pixels");
  app.add_option("--batch", arguments.batch, "samples a step");
  app.add_option("--microbatch", arguments.microbatch, "samples at once");
  app.add_option("--steps", arguments.steps, "steps");
  app.add_option("--threads", arguments.threads, "threads");
  app.add_option("--device", arguments.device, "cpu or cuda:N");
  app.add_option("--cuda-graph", arguments.cuda_graph, "auto, on or off");
  CLI11_PARSE(app, argc, argv);
  neolog::InitLogging("step_bench", "info", /*json=*/false);  // to standard error
  if (const absl::Status status = Run(arguments); !status.ok()) {
    std::fprintf(stderr, "step_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
