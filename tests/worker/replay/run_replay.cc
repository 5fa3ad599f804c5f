#include "tests/worker/replay/run_replay.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/tensor_file/safetensors.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "worker/replay/replay_command.h"
#include "worker/torch_support/tensors.h"

namespace neolog::testing {
namespace {

std::map<std::string, at::Tensor> Copies(const SafetensorsFile& file) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, view] : file.tensors())
    tensors[name] = torch_support::TensorOver(view, nullptr).clone();
  return tensors;
}

}  // namespace

Replayed RunReplay(const std::string& model, const std::string& in,
                   const std::vector<std::string>& more) {
  const ScopedDir dir;
  const std::string out = dir.File("result.safetensors");
  std::vector<std::string> words{"replay", "--model", model,       "--in", in,
                                 "--out",  out,       "--threads", "1"};
  if (const std::string device = TestDevice(); device != "cpu")
    words.insert(words.end(), {"--device", device});
  words.insert(words.end(), more.begin(), more.end());
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  Replayed result;
  result.code = replay::RunReplayCommand(static_cast<int>(argv.size()), argv.data());
  result.errors = ::testing::internal::GetCapturedStderr();
  ::testing::internal::GetCapturedStdout();
  result.wrote = !std::filesystem::is_empty(dir.path());
  if (std::filesystem::exists(out)) result.tensors = ReadTensors(out);
  return result;
}

std::map<std::string, at::Tensor> ReadTensors(const std::string& path) {
  auto file = SafetensorsFile::Open(path);
  EXPECT_OK(file);
  return file.ok() ? Copies(**file) : std::map<std::string, at::Tensor>();
}

Case ReadCase(const std::string& path) {
  auto file = SafetensorsFile::Open(path);
  EXPECT_OK(file);
  Case result;
  result.json = (*file)->metadata().at("neolog.replay");
  result.tensors = Copies(**file);
  return result;
}

void WriteCase(const Case& value, const std::string& path) {
  std::map<std::string, TensorView> views;
  for (const auto& [name, tensor] : value.tensors)
    views[name] = torch_support::ViewOf(tensor).value();
  std::map<std::string, std::string> metadata;
  if (!value.metadata_key.empty()) metadata[value.metadata_key] = value.json;
  WriteFileOrDie(path, SerializeSafetensors(views, metadata).value());
}

double RootMeanSquareError(const at::Tensor& got, const at::Tensor& expected) {
  const auto size = [](const at::Tensor& t) {
    return t.to(at::kDouble).square().mean().sqrt().item<double>();
  };
  const double of = size(expected), difference = size(got.to(at::kDouble) - expected);
  return of > 0 ? difference / of : difference;
}

}  // namespace neolog::testing
