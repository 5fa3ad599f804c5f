#include "tests/integration/local_cluster.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include <fmt/format.h>

#include "common/base/process.h"
#include "tests/support/paths.h"

namespace neolog::testing {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(4);

}  // namespace

LocalClusterForTest::LocalClusterForTest() = default;

LocalClusterForTest::~LocalClusterForTest() {
  const CommandResult down = Neolog({"down"});
  EXPECT_TRUE(down.exit.success()) << down.err;
  if (::testing::Test::HasFailure()) {
    const CommandResult logs = Neolog({"logs", "--tail", "40"});
    std::fputs((logs.out + logs.err).c_str(), stderr);
  }
}

SpawnOptions LocalClusterForTest::Options(std::vector<std::string> args) {
  SpawnOptions options;
  options.argv = {ProgramPath("neolog")};
  options.argv.insert(options.argv.end(), args.begin(), args.end());
  options.env = {{"NEOLOG_STATE_DIR", dir_.File("s")}};
  options.unset_env = {"NEOLOG_COORDINATOR", "OMP_NUM_THREADS"};
  return options;
}

CommandResult LocalClusterForTest::Neolog(std::vector<std::string> args) {
  auto result = RunCommand(Options(std::move(args)), kPatience);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : CommandResult{ExitStatus{255, 0}, "", ""};
}

std::unique_ptr<Subprocess> LocalClusterForTest::Start(std::vector<std::string> args) {
  SpawnOptions options = Options(std::move(args));
  options.stdout_to = OutputTo::File(dir_.File("started.out"));
  options.stderr_to = OutputTo::File(dir_.File("started.err"));
  auto process = Subprocess::Spawn(options);
  EXPECT_TRUE(process.ok()) << process.status();
  return process.ok() ? *std::move(process) : nullptr;
}

std::string LocalClusterForTest::StartedErr() const { return ReadFileOrDie(dir_.File("started.err")); }

std::string LocalClusterForTest::RunFile(const std::string& word, int steps, const std::string& extra) {
  const std::string path = dir_.File(word + ".yaml");
  WriteFileOrDie(path, fmt::format("name: {0}\n"
                                   "model: {{path: '{1}'}}\n"
                                   "word: {{name: {0}, init_text: thing}}\n"
                                   "data: {{images: '{2}'}}\n"
                                   "training: {{steps: {3}, batch_size: 4, learning_rate: 0.03, seed: 5}}\n"
                                   "checkpoint: {{log_dir: '{4}', every_steps: 0}}\n{5}",
                                   word, SourcePath("configs/demo/model"), SourcePath("configs/demo/pictures/" + word), steps,
                                   dir_.File("out"), extra));
  return path;
}

std::string LocalClusterForTest::EmbeddingBytes(const std::string& word) {
  std::string bytes;
  for (const char* extension : {".pt", ".safetensors"}) {
    const std::string path = dir_.File("out/" + word + "/" + word + extension);
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(path); })) << path;
    if (!std::filesystem::exists(path)) return "";
    bytes += ReadFileOrDie(path);
  }
  return bytes;
}

nlohmann::json LocalClusterForTest::Status() {
  const CommandResult result = Neolog({"status", "--json"});
  return result.exit.success() ? nlohmann::json::parse(result.out, nullptr, false) : nlohmann::json();
}

nlohmann::json LocalClusterForTest::RunStatus(const std::string& name) {
  const nlohmann::json status = Status();
  if (!status.is_object()) return {};
  for (const auto& run : status["runs"]) {
    if (run["spec"]["name"] == name) return run;
  }
  return {};
}

int LocalClusterForTest::StepOf(const std::string& name) {
  const nlohmann::json run = RunStatus(name);
  return run.is_object() ? std::stoi(run.value("step", "0")) : 0;  // 64-bit numbers are strings in protobuf's JSON
}

std::map<std::string, pid_t> LocalClusterForTest::WorkerPids() {
  std::map<std::string, pid_t> pids;
  const nlohmann::json status = Status();
  if (!status.is_object()) return pids;
  for (const auto& worker : status["workers"]) {
    if (worker["state"] == "lost") continue;
    pids[worker["worker"]["workerId"].get<std::string>()] = static_cast<pid_t>(std::stol(worker["processId"].get<std::string>()));
  }
  return pids;
}

pid_t LocalClusterForTest::CoordinatorPid() {
  return LockFile::Holder(dir_.File("s/coordinator/coordinator.lock")).value_or(0);
}

::testing::AssertionResult Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return ::testing::AssertionSuccess();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return ::testing::AssertionFailure() << "did not happen within two minutes";
}

}  // namespace neolog::testing
