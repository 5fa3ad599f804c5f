#include "coordinator/cli/supervisor.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(30);

/// Waits for a condition that other processes bring about.
template <typename Condition>
::testing::AssertionResult Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return ::testing::AssertionSuccess();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return ::testing::AssertionFailure() << "did not happen within 30 s";
}

/// A supervisor on a thread of its own, with shell scripts in the place of the programs.
class SupervisorTest : public ::testing::Test {
 protected:
  SupervisorTest() {
    options_.dir.root = root_.File("s");
    options_.coordinator_program = Script("coordinator", "exec sleep 1000");
    options_.worker_program = Script("worker", "exec sleep 1000");
    options_.min_backoff = absl::Milliseconds(10);
    options_.grace = absl::Seconds(5);
  }

  ~SupervisorTest() override { Stop(); }

  /// A program that notes its arguments in <name>.args, one start a line, and then runs `body`.
  std::string Script(const std::string& name, const std::string& body) {
    const std::string path = root_.File(name);
    WriteFileOrDie(path, "#!/bin/sh\necho \"$@\" >> '" + path + ".args'\n" + body + "\n");
    chmod(path.c_str(), 0755);
    return path;
  }

  void Start() {
    ASSERT_OK_AND_ASSIGN(
        supervisor_,
        Supervisor::Create(
            options_, [this]() -> absl::StatusOr<bool> { return active_.load(); }, &clock_));
    ASSERT_OK_AND_ASSIGN(signals_, SignalPipe::Create({SIGTERM, SIGUSR1}));
    left_ = std::async(std::launch::async, [this] { return supervisor_->Run(*signals_); });
  }

  void Stop() {
    if (!left_.valid()) return;
    raise(SIGTERM);
    left_.get();
  }

  std::unique_ptr<SupervisorConnection> Connect() {
    auto connection = SupervisorConnection::Connect(options_.dir.SupervisorSocket());
    EXPECT_OK(connection);
    return connection.ok() ? *std::move(connection) : nullptr;
  }

  ScopedDir root_;
  SystemClock clock_;
  Supervisor::Options options_;
  std::atomic<bool> active_{false};
  std::unique_ptr<Supervisor> supervisor_;
  std::unique_ptr<SignalPipe> signals_;
  std::future<std::string> left_;
};

TEST_F(SupervisorTest, Ensure_StartsWorkersOnceEachWithTheirOwnId) {
  Start();
  auto client = Connect();
  ASSERT_OK_AND_ASSIGN(auto info,
                       client->Call({SupervisorRequest::Op::kEnsure, {"cpu", "cpu"}, 1}));
  ASSERT_OK_AND_ASSIGN(info, client->Call({SupervisorRequest::Op::kEnsure,
                                           {"cpu", "cpu"},
                                           1}));  // the second changes nothing
  ASSERT_EQ(info.children.size(), 3u);
  EXPECT_EQ(info.children[0].name, "coordinator");
  EXPECT_EQ(info.children[1].name, "w0");
  EXPECT_EQ(info.children[2].name, "w1");
  for (const ChildInfo& child : info.children)
    EXPECT_TRUE(FindProcess(static_cast<pid_t>(child.pid)).has_value());
  EXPECT_EQ(info.target, "unix:" + options_.dir.root + "/coordinator.sock");
  // Workers with other threads are other workers.
  ASSERT_OK_AND_ASSIGN(info, client->Call({SupervisorRequest::Op::kEnsure, {"cpu"}, 4}));
  ASSERT_EQ(info.children.size(), 4u);
  EXPECT_EQ(info.children[3].threads, 4u);
  ASSERT_TRUE(Eventually([&] {
    std::ifstream args(options_.worker_program + ".args");
    return std::count(std::istreambuf_iterator<char>(args), {}, '\n') == 3;
  }));
  EXPECT_THAT(
      ReadFileOrDie(options_.worker_program + ".args"),
      HasSubstr("run --coordinator " + info.target + " --id w0 --state-dir " + options_.dir.root +
                "/workers/w0 --threads 1 --device cpu --fingerprint-cache " + options_.dir.root +
                "/fingerprints.json"))
      << "hashed once, by the command";
}

TEST_F(SupervisorTest, Ensure_GivesEveryGpuOneWorker) {
  Start();
  auto client = Connect();
  ASSERT_OK_AND_ASSIGN(auto info,
                       client->Call({SupervisorRequest::Op::kEnsure, {"cuda:1", "cuda:0"}, 2}));
  ASSERT_OK_AND_ASSIGN(
      info, client->Call({SupervisorRequest::Op::kEnsure, {"cuda:0", "cuda:1", "cuda:2"}, 2}));
  std::vector<std::string> devices;
  for (const ChildInfo& child : info.children) devices.push_back(child.device);
  EXPECT_THAT(devices, ElementsAre("", "cuda:0", "cuda:1", "cuda:2"));
  EXPECT_THAT(client->Call({SupervisorRequest::Op::kEnsure, {"cpu", "cuda:1"}, 1}),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("'w1' has cuda:1 already, with 2 threads instead of 1")));
  ASSERT_OK_AND_ASSIGN(info, client->Call({SupervisorRequest::Op::kInfo}));
  EXPECT_EQ(info.children.size(), 4u) << "nothing was started";
}

TEST_F(SupervisorTest, DeadChild_IsStartedAgainAndItsEndIsReported) {
  Start();
  auto client = Connect();
  ASSERT_OK_AND_ASSIGN(const auto before,
                       client->Call({SupervisorRequest::Op::kEnsure, {"cpu"}, 1}));
  kill(static_cast<pid_t>(before.children[1].pid), SIGKILL);
  SupervisorReply after;
  ASSERT_TRUE(Eventually([&] {
    auto info = client->Call({});
    if (info.ok()) after = *std::move(info);
    return after.children.size() == 2 && after.children[1].restarts == 1 &&
           after.children[1].pid != 0;
  }));
  EXPECT_NE(after.children[1].pid, before.children[1].pid);
  EXPECT_EQ(after.children[1].last_exit, "signal SIGKILL");
  EXPECT_EQ(after.children[0].pid, before.children[0].pid);
}

TEST_F(SupervisorTest, ChildThatCannotLive_IsTriedAgainWithPausesAndItsLogIsKept) {
  options_.worker_program = Script("worker", "echo no libtorch here >&2; exit 127");
  Start();
  auto client = Connect();
  ASSERT_OK(client->Call({SupervisorRequest::Op::kEnsure, {"cpu"}, 1}));
  SupervisorReply info;
  ASSERT_TRUE(Eventually([&] {
    auto reply = client->Call({});
    if (reply.ok()) info = *std::move(reply);
    return info.children.size() == 2 && info.children[1].restarts >= 3;
  }));
  EXPECT_EQ(info.children[1].last_exit, "exit code 127");
  EXPECT_THAT(ReadFileOrDie(info.children[1].log), HasSubstr("no libtorch here"));
}

TEST_F(SupervisorTest, Down_EndsEveryChildBeforeTheConnectionCloses) {
  Start();
  auto client = Connect();
  ASSERT_OK_AND_ASSIGN(const auto info,
                       client->Call({SupervisorRequest::Op::kEnsure, {"cpu", "cpu"}, 1}));
  ASSERT_OK(client->Call({SupervisorRequest::Op::kDown}));
  ASSERT_OK(client->WaitClosed(kLong));
  for (const ChildInfo& child : info.children)
    EXPECT_FALSE(FindProcess(static_cast<pid_t>(child.pid)).has_value());
  EXPECT_EQ(left_.get(), "told to leave");
}

TEST_F(SupervisorTest, ChildThatIgnoresSigterm_IsKilled) {
  options_.worker_program = Script(
      "worker", "trap '' TERM; touch '" + root_.File("ready") + "'; while :; do sleep 0.1; done");
  options_.grace = absl::Milliseconds(100);
  Start();
  auto client = Connect();
  ASSERT_OK_AND_ASSIGN(const auto info, client->Call({SupervisorRequest::Op::kEnsure, {"cpu"}, 1}));
  ASSERT_TRUE(Eventually([&] { return access(root_.File("ready").c_str(), F_OK) == 0; }));
  ASSERT_OK(client->Call({SupervisorRequest::Op::kDown}));
  ASSERT_OK(client->WaitClosed(kLong));
  EXPECT_FALSE(FindProcess(static_cast<pid_t>(info.children[1].pid)).has_value());
}

TEST_F(SupervisorTest, OnDemand_LeavesOnlyWithoutRunsAndClients) {
  options_.on_demand = true;
  options_.linger = absl::Milliseconds(20);
  active_ = true;
  Start();
  auto client = Connect();
  ASSERT_OK(client->Call({}));
  active_ = false;
  EXPECT_EQ(left_.wait_for(std::chrono::milliseconds(150)),
            std::future_status::timeout);  // a client is attached
  active_ = true;
  client.reset();
  EXPECT_EQ(left_.wait_for(std::chrono::milliseconds(150)),
            std::future_status::timeout);  // a run is active
  active_ = false;
  EXPECT_EQ(left_.get(), "no run and no client is left");
}

TEST_F(SupervisorTest, Keep_MakesAnOnDemandClusterStay) {
  options_.on_demand = true;
  options_.linger = absl::ZeroDuration();
  active_ = true;
  Start();
  auto client = Connect();
  ASSERT_OK_AND_ASSIGN(const auto info, client->Call({SupervisorRequest::Op::kKeep}));
  EXPECT_FALSE(info.on_demand);
  active_ = false;
  client.reset();
  EXPECT_EQ(left_.wait_for(std::chrono::milliseconds(150)), std::future_status::timeout);
}

TEST_F(SupervisorTest, SecondSupervisor_IsRefused) {
  Start();
  EXPECT_THAT(Supervisor::Create(
                  options_, [] { return true; }, &clock_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("runs already")));
}

TEST_F(SupervisorTest, StraysOfAKilledSupervisor_AreEndedAndOthersAreNot) {
  SpawnOptions spawn;
  spawn.argv = {"sleep", "1000"};
  ASSERT_OK_AND_ASSIGN(auto stray, Subprocess::Spawn(spawn));
  ASSERT_OK_AND_ASSIGN(auto other, Subprocess::Spawn(spawn));
  ASSERT_OK(PrepareStateDir(options_.dir));
  const auto children =
      nlohmann::json::array({{{"name", "w0"},
                              {"pid", stray->pid()},
                              {"start_ticks", FindProcess(stray->pid())->start_ticks}},
                             // The number of a process that ended, given to another one since.
                             {{"name", "w1"},
                              {"pid", other->pid()},
                              {"start_ticks", FindProcess(other->pid())->start_ticks + 1}}});
  WriteFileOrDie(options_.dir.Children(), children.dump());
  Start();
  ASSERT_OK_AND_ASSIGN(const ExitStatus exit, stray->Wait(kLong));
  EXPECT_EQ(exit.ToString(), "signal SIGKILL");
  EXPECT_FALSE(other->Poll().has_value());
}

TEST_F(SupervisorTest, NonsenseOnTheSocket_GetsAnErrorAndNothingElse) {
  EXPECT_THAT(DecodeRequest("hello"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("JSON object")));
  EXPECT_THAT(DecodeRequest(R"({"op":"explode"})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("explode")));
  EXPECT_THAT(DecodeRequest(R"({"op":7})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("understand")));
  EXPECT_THAT(DecodeReply(R"({"children":[{}]})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reply")));
}

TEST(StateDirTest, ComesFromTheEnvironment) {
  const auto with = [](std::map<std::string, std::string> env) {
    return ResolveStateDir([env](std::string_view name) -> std::optional<std::string> {
      const auto found = env.find(std::string(name));
      return found == env.end() ? std::nullopt : std::optional(found->second);
    });
  };
  EXPECT_EQ(with({{"HOME", "/users/x"}})->root, "/users/x/.local/state/neolog");
  EXPECT_EQ(with({{"HOME", "/users/x"}, {"XDG_STATE_HOME", "/s"}})->root, "/s/neolog");
  EXPECT_EQ(with({{"HOME", "/users/x"}, {"XDG_STATE_HOME", "relative"}})->root,
            "/users/x/.local/state/neolog");
  EXPECT_EQ(with({{"HOME", "/users/x"}, {"NEOLOG_STATE_DIR", "/n/"}})->root, "/n");
  EXPECT_THAT(with({}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NEOLOG_STATE_DIR")));
  EXPECT_THAT(with({{"NEOLOG_STATE_DIR", "/" + std::string(120, 'x')}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shorter path")));
}

TEST(StateDirTest, OpenToOthers_IsRefused) {
  ScopedDir root;
  const StateDir dir{root.File("s")};
  ASSERT_OK(PrepareStateDir(dir));
  struct stat info = {};
  ASSERT_EQ(stat(dir.root.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  chmod(dir.root.c_str(), 0755);
  EXPECT_THAT(PrepareStateDir(dir),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("chmod 700")));
}

}  // namespace
}  // namespace neolog::cli
