#include "tests/integration/local_cluster.h"

#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "common/base/process.h"
#include "tests/support/paths.h"

namespace neolog::testing {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(20);

/// Where a cluster's files are, below its folder (coordinator/cli/state_dir.h); the path must be
/// short for a socket.
constexpr char kSocket[] = "s/coordinator.sock";
constexpr char kLock[] = "s/coordinator/coordinator.lock";
constexpr char kJournal[] = "s/coordinator/journal.db";

}  // namespace

LocalClusterForTest::LocalClusterForTest(std::vector<std::pair<std::string, std::string>> env)
    : env_(std::move(env)), watch_("unix:" + dir_.File(kSocket), kPatience) {}

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
  options.env = env_;
  options.env.emplace_back("NEOLOG_STATE_DIR", dir_.File("s"));
  options.unset_env = {"NEOLOG_COORDINATOR", "OMP_NUM_THREADS"};
  return options;
}

CommandResult LocalClusterForTest::Neolog(std::vector<std::string> args) {
  auto result = RunCommand(Options(std::move(args)), kPatience);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : CommandResult{ExitStatus{255, 0}, "", ""};
}

void LocalClusterForTest::Submit(std::vector<std::string> args) {
  args.insert(args.begin(), "train");
  args.push_back("--detach");
  const CommandResult submitted = Neolog(std::move(args));
  EXPECT_TRUE(submitted.exit.success()) << submitted.err;
}

std::unique_ptr<Subprocess> LocalClusterForTest::Start(std::vector<std::string> args) {
  SpawnOptions options = Options(std::move(args));
  options.stdout_to = OutputTo::File(dir_.File("started.out"));
  options.stderr_to = OutputTo::File(dir_.File("started.err"));
  auto process = Subprocess::Spawn(options);
  EXPECT_TRUE(process.ok()) << process.status();
  return process.ok() ? *std::move(process) : nullptr;
}

std::string LocalClusterForTest::StartedErr() const {
  return ReadFileOrDie(dir_.File("started.err"));
}

std::string LocalClusterForTest::RunFile(const std::string& word, int steps,
                                         const std::string& extra) {
  const std::string path = dir_.File(word + ".yaml");
  WriteFileOrDie(
      path,
      fmt::format("name: {0}\n"
                  "model: {{path: '{1}'}}\n"
                  "word: {{name: {0}, init_text: thing}}\n"
                  "data: {{images: '{2}'}}\n"
                  "training: {{steps: {3}, batch_size: 4, learning_rate: 0.03, seed: 5}}\n"
                  "checkpoint: {{log_dir: '{4}', every_steps: 0}}\n{5}",
                  word, SourcePath("configs/demo/model"),
                  SourcePath("configs/demo/pictures/" + word), steps, dir_.File("out"), extra));
  return path;
}

std::vector<std::string> LocalClusterForTest::DemoRun(int workers) {
  return {SourcePath("configs/demo/demo.yaml"), "--workers", std::to_string(workers), "--set",
          "checkpoint.log_dir=" + dir_.File("out")};
}

std::vector<std::string> LocalClusterForTest::DemoNeighbour(const std::string& name,
                                                            const std::string& word, int workers,
                                                            int steps) {
  std::vector<std::string> args = DemoRun(workers);
  for (const std::string& setting : {"name=" + name, "word.name=" + word,
                                     "data.images=" + SourcePath("configs/demo/pictures/" + word),
                                     fmt::format("training.steps={}", steps)}) {
    args.insert(args.end(), {"--set", setting});
  }
  return args;
}

std::string LocalClusterForTest::EmbeddingBytes(const std::string& name) {
  // The command waits for the files, which come a moment after the run's end, and prints their
  // paths.
  const CommandResult result = Neolog({"logs", "-f", name});
  EXPECT_TRUE(result.exit.success()) << result.err;
  std::string bytes;
  int files = 0;
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);) {
    if (!line.ends_with(".pt") && !line.ends_with(".safetensors")) continue;
    bytes += ReadFileOrDie(line);
    ++files;
  }
  EXPECT_EQ(files, 2) << result.out << result.err;
  return files == 2 ? bytes : "";
}

nlohmann::json LocalClusterForTest::Status() {
  const CommandResult result = Neolog({"status", "--json"});
  return result.exit.success() ? nlohmann::json::parse(result.out, nullptr, false)
                               : nlohmann::json();
}

std::map<std::string, pid_t> LocalClusterForTest::WorkerPids() {
  std::map<std::string, pid_t> pids;
  const v1::GetStatusResponse status = watch_.Status();
  for (const v1::WorkerInfo& worker : status.workers()) {
    if (worker.state() == "lost") continue;
    pids[worker.worker().worker_id()] = static_cast<pid_t>(worker.process_id());
  }
  return pids;
}

pid_t LocalClusterForTest::CoordinatorPid() {
  return LockFile::Holder(dir_.File(kLock)).value_or(0);
}

void LocalClusterForTest::KillCoordinator() {
  killed_coordinator_ = CoordinatorPid();
  ASSERT_GT(killed_coordinator_, 1);
  ASSERT_EQ(kill(killed_coordinator_, SIGKILL), 0);
}

bool LocalClusterForTest::WaitForNewCoordinator() {
  return watch_.Wait([&] {
    const pid_t now = CoordinatorPid();
    return now > 1 && now != killed_coordinator_;
  });
}

Records LocalClusterForTest::DownAndJournal() {
  const CommandResult down = Neolog({"down"});
  EXPECT_TRUE(down.exit.success()) << down.err;
  return ReadJournal(dir_.File(kJournal));
}

}  // namespace neolog::testing
