#include "worker/replay/replay_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <string>
#include <thread>

#include "common/base/status.h"
#include "common/storage/durable_write.h"
#include "common/storage/posix_file_system.h"
#include "worker/diffusion/model_arguments.h"
#include "worker/replay/kinds.h"
#include "worker/torch_support/runtime.h"
#include "worker/torch_support/tensors.h"

namespace neolog::replay {
namespace {

using diffusion::AttentionKernel;

constexpr int kUnexpected = 1, kBadInput = 2;

struct Arguments {
  std::string model, in, out;
  diffusion::ModelOptions options;
  int threads = 1;
};

absl::StatusOr<std::string> Serialize(const Result& result) {
  std::map<std::string, TensorView> views;
  for (const auto& [name, tensor] : result) {
    ASSIGN_OR_RETURN(views[name], torch_support::ViewOf(tensor));
  }
  return SerializeSafetensors(views, {});
}

// The place for the result is looked at before the work, the result is written after it.
absl::Status CheckDestination(FileSystem& fs, const std::string& path) {
  ASSIGN_OR_RETURN_WITH(const FileInfo folder, fs.Stat(DirectoryOf(path)),
                        fmt::format("--out '{}'", path));
  if (!folder.is_directory)
    return InvalidArgument(fmt::format("--out '{}': '{}' is no folder", path, DirectoryOf(path)));
  const auto there = fs.Stat(path);
  if (there.ok() && there->is_directory)
    return InvalidArgument(fmt::format("--out '{}' is a folder", path));
  return absl::OkStatus();
}

absl::StatusOr<Result> Compute(const Arguments& arguments) {
  ASSIGN_OR_RETURN(const CaseFile file, CaseFile::Open(arguments.in));
  ASSIGN_OR_RETURN_WITH(const auto kind,
                        MakeKind({.file = &file, .precision = arguments.options.precision}),
                        fmt::format("'{}'", arguments.in));
  RETURN_IF_ERROR(torch_support::SetUpRuntime({.threads = arguments.threads}));
  ASSIGN_OR_RETURN(const auto model, diffusion::LoadModel(arguments.model, arguments.options));
  ASSIGN_OR_RETURN_WITH(Result result, kind->Run(*model), fmt::format("'{}'", arguments.in));
  return result;
}

int Fail(const absl::Status& status) {
  std::cerr << "neolog-worker replay: " << ToStd(status.message()) << "\n";
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied: return kBadInput;
    default: return kUnexpected;
  }
}

}  // namespace

int RunReplayCommand(int argc, const char* const* argv) {
  Arguments arguments;
  arguments.threads = std::max(1u, std::thread::hardware_concurrency());
  CLI::App app(
      "Runs one recorded piece of numerical work with every random number injected, and writes "
      "what it computed.",
      "neolog-worker replay");
  diffusion::AddModelArguments(app, &arguments.model, &arguments.options);
  app.add_option("--in", arguments.in, "The case, a safetensors file")
      ->required()
      ->type_name("FILE");
  app.add_option("--out", arguments.out, "Where the result goes; replaced when it exists")
      ->required()
      ->type_name("FILE");
  const std::map<std::string, AttentionKernel> kernels{{"matmul", AttentionKernel::kMatmul},
                                                       {"flash", AttentionKernel::kFlash}};
  app.add_option("--attention", arguments.options.attention,
                 "The UNet's attention: matmul or flash [flash]")
      ->transform(CLI::CheckedTransformer(kernels))
      ->type_name("KERNEL");
  app.add_option("--threads", arguments.threads, "Threads of one operation [all processors]")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kBadInput;
  }

  const auto fs = MakePosixFileSystem();
  if (const absl::Status status = CheckDestination(*fs, arguments.out); !status.ok())
    return Fail(status);
  auto result = Compute(arguments);
  if (!result.ok()) return Fail(result.status());
  const auto bytes = Serialize(*result);
  if (!bytes.ok()) return Fail(bytes.status());
  if (const absl::Status status = WriteFileDurably(*fs, arguments.out, *bytes); !status.ok())
    return Fail(status);
  return 0;
}

}  // namespace neolog::replay
