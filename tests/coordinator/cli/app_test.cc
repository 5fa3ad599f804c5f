#include "coordinator/cli/app.h"

#include <signal.h>

#include <chrono>
#include <cmath>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "common/base/hash.h"
#include "common/tensor_file/safetensors.h"
#include "tests/coordinator/cli/fake_coordinator.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli {
namespace {

using ::neolog::cli::testing::FakeCoordinator;
using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

/// Runs `neolog` as a new user would, but inside this process.
class AppTest : public ::testing::Test {
 protected:
  AppTest() { env_ = {{"NEOLOG_STATE_DIR", dir_.File("state")}, {"HOME", dir_.path()}}; }

  Outcome Run(std::vector<std::string> args, const std::string& input = "", bool tty = false) {
    std::istringstream in(input);
    std::ostringstream out, err;
    Console::Options options;
    options.in = &in;
    options.out = &out;
    options.err = &err;
    options.in_is_tty = options.err_is_tty = tty;
    Console console(options);
    SystemClock clock;
    Context context;
    context.console = &console;
    context.clock = &clock;
    context.env = [this](std::string_view name) -> std::optional<std::string> {
      const auto found = env_.find(std::string(name));
      return found == env_.end() ? std::nullopt : std::optional(found->second);
    };
    context.self_path = dir_.File("neolog");
    args.insert(args.begin(), "neolog");
    std::vector<const char*> argv;
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    const int code = RunApp(static_cast<int>(argv.size()), argv.data(), context);
    return {code, out.str(), err.str()};
  }

  FakeCoordinator& Coordinator() {
    if (!coordinator_) {
      coordinator_ = std::make_unique<FakeCoordinator>(dir_.File("c.sock"));
      env_["NEOLOG_COORDINATOR"] = coordinator_->target();
    }
    return *coordinator_;
  }

  static v1::RunInfo RunAt(v1::RunState state, uint64_t step) {
    v1::RunInfo run;
    run.set_run_id("zesko-1");
    run.mutable_spec()->set_name("zesko");
    run.set_state(state);
    run.set_step(step);
    run.set_total_steps(100);
    run.set_smoothed_loss(0.03f);
    run.set_steps_per_second(5);
    return run;
  }

  /// A run file on the demo's model and pictures.
  std::string RunFile(const std::string& extra = "") {
    WriteFileOrDie(dir_.File("run.yaml"),
                   "name: zesko\nmodel: {path: '" + SourcePath("configs/demo/model") +
                       "'}\nword: {name: zesko, init_text: thing}\ndata: {images: '" +
                       SourcePath("configs/demo/pictures/zesko") + "'}\ntraining: {steps: 100}\n" +
                       extra);
    return dir_.File("run.yaml");
  }

  ScopedDir dir_;
  std::map<std::string, std::string> env_;
  std::unique_ptr<FakeCoordinator> coordinator_;
};

struct UsageCase {
  const char* name;
  std::vector<std::string> args;
  int code;
  const char* err;
};

class UsageTest : public AppTest, public ::testing::WithParamInterface<UsageCase> {};

TEST_P(UsageTest, CommandLine_GetsItsCodeAndWords) {
  const Outcome outcome = Run(GetParam().args);
  EXPECT_EQ(outcome.code, GetParam().code);
  EXPECT_THAT(outcome.err, HasSubstr(GetParam().err));
}

INSTANTIATE_TEST_SUITE_P(
    All, UsageTest,
    ::testing::Values(
        UsageCase{"Bare", {}, 2, "neolog train FILE"}, UsageCase{"Help", {"--help"}, 0, ""},
        UsageCase{"CommandHelp", {"train", "--help"}, 0, ""},
        UsageCase{"UnknownCommand",
                  {"trian", "x.yaml"},
                  2,
                  "unknown command 'trian' (did you mean 'train'?)"},
        UsageCase{
            "UnknownNothingNear", {"launch"}, 2, "unknown command 'launch'; see `neolog --help`"},
        UsageCase{"UnknownOption",
                  {"train", "x.yaml", "--worker=3"},
                  2,
                  "unknown option '--worker' (did you mean '--workers'?)"},
        UsageCase{"MissingFile", {"train"}, 2, "FILE is required"},
        UsageCase{"WorkersNotANumber", {"train", "x.yaml", "--workers", "two"}, 2, "--workers"},
        UsageCase{"WorkersZero", {"train", "x.yaml", "--workers", "0"}, 2, "--workers"},
        UsageCase{"BareConfig", {"config"}, 2, "subcommand is required"},
        UsageCase{"UnknownConfig", {"config", "explian"}, 2, "did you mean 'explain'?"},
        UsageCase{"BadFormat", {"status", "-o", "xml"}, 2, "xml"},
        UsageCase{"Version", {"version"}, 0, ""},
        UsageCase{"NoSuchRunFile", {"train", "nowhere.yaml"}, 2, "nowhere.yaml"},
        UsageCase{"NoCluster", {"status"}, 3, "neolog up"},
        UsageCase{"NoClusterList", {"list"}, 3, "no local cluster runs"},
        UsageCase{"DownWithout", {"down"}, 0, "no local cluster runs"},
        UsageCase{"BadAddress", {"status", "--coordinator", "nonsense"}, 2, "nonsense"},
        UsageCase{"NobodyThere",
                  {"status", "--coordinator", "unix:/nowhere.sock"},
                  3,
                  "cannot be reached"},
        UsageCase{"ExplainUnknown", {"config", "explain", "training.stesp"}, 2, "training.steps"},
        UsageCase{"TokenizeNowhere", {"tokenize", "--model", "/nowhere"}, 2, "/nowhere"}),
    [](const auto& info) { return info.param.name; });

TEST_F(AppTest, Help_IsOnStandardOutputWithExitCodes) {
  EXPECT_THAT(Run({"--help"}).out,
              AllOf(HasSubstr("train"), HasSubstr("143 terminated"), Not(HasSubstr("supervise"))));
  EXPECT_THAT(Run({"train", "--help"}).out, AllOf(HasSubstr("--set"), HasSubstr("Example")));
}

TEST_F(AppTest, Explain_DocumentsASetting) {
  EXPECT_THAT(Run({"config", "explain", "training.learning_rate"}).out, HasSubstr("0.005"));
}

TEST_F(AppTest, Tokenize_OneArrayALine) {
  const Outcome outcome =
      Run({"tokenize", "--model", SourcePath("configs/demo/model"), "--json"}, "a photo\n\n");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  std::string first, second, third;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_EQ(nlohmann::json::parse(first).size(), 4u);
  EXPECT_EQ(nlohmann::json::parse(second).size(), 2u);
  EXPECT_FALSE(std::getline(lines, third));
}

TEST_F(AppTest, Tokenize_Padded_IsWhatTheTextEncoderReads) {
  std::string longer;
  for (int i = 0; i < 80; ++i) longer += "square ";
  const auto ids = [&](std::vector<std::string> options) {
    std::vector<std::string> arguments = {"tokenize", "--model", SourcePath("configs/demo/model"),
                                          "--padded"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Outcome outcome = Run(arguments, longer + "\n");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  EXPECT_EQ(ids({}).size(), 77u);
  EXPECT_EQ(ids({"--long-prompts", "chunk"}).size(), 154u);
  EXPECT_EQ(Run({"tokenize", "--model", "x", "--long-prompts", "chunk"}).code, 2);
}

TEST_F(AppTest, Status_JsonIsTheReply) {
  Coordinator().SetRun(RunAt(v1::RUN_STATE_RUNNING, 12));
  const Outcome outcome = Run({"status", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["runs"][0]["state"], "RUN_STATE_RUNNING");
  EXPECT_THAT(Run({"list"}).out, HasSubstr("12/100"));
}

TEST_F(AppTest, OtherVersion_IsRefused) {
  Coordinator().SetVersion("9.3.0");
  const Outcome outcome = Run({"status"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("9.3.0"), HasSubstr("0.1.0")));
}

TEST_F(AppTest, UnknownRun_GetsTheNearest) {
  Coordinator().SetRun(RunAt(v1::RUN_STATE_RUNNING, 12));
  for (const char* command : {"stop", "pause", "wait", "logs"}) {
    const Outcome outcome = Run({command, "zseko"});
    EXPECT_EQ(outcome.code, 4);
    EXPECT_THAT(outcome.err, HasSubstr("did you mean 'zesko'?"));
  }
}

TEST_F(AppTest, Wait_ExitCodeSaysHowItEnded) {
  Coordinator().SetRun(RunAt(v1::RUN_STATE_COMPLETED, 100));
  EXPECT_EQ(Run({"wait", "zesko"}).code, 0);
  Coordinator().SetRun(RunAt(v1::RUN_STATE_FAILED, 7));
  EXPECT_EQ(Run({"wait", "zesko"}).code, 5);
  Coordinator().SetRun(RunAt(v1::RUN_STATE_PAUSED, 7));
  EXPECT_EQ(Run({"wait", "zesko"}).code, 75);
  Coordinator().SetRun(RunAt(v1::RUN_STATE_RUNNING, 7));
  EXPECT_EQ(Run({"wait", "zesko", "--timeout", "0.1"}).code, 6);
}

TEST_F(AppTest, Train_SubmitsACompleteSpecAndFollowsToTheEnd) {
  Coordinator().SetScript({RunAt(v1::RUN_STATE_RUNNING, 1), RunAt(v1::RUN_STATE_RUNNING, 55),
                           RunAt(v1::RUN_STATE_COMPLETED, 100)});
  const Outcome outcome = Run({"train", RunFile(), "--set", "training.seed=7"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("55/100"), HasSubstr("is learned")));
  ASSERT_EQ(Coordinator().submitted().size(), 1u);
  const v1::SubmitRunRequest request = Coordinator().submitted()[0];
  const v1::RunSpec& spec = request.spec();
  EXPECT_FALSE(request.idempotency_key().empty());
  EXPECT_EQ(spec.training().seed(), 7u);
  EXPECT_EQ(spec.model().text_widths(0), 96u);
  EXPECT_EQ(spec.model().fingerprint().size(), 64u);
  EXPECT_EQ(spec.data().templates_size(), 27);
  ASSERT_EQ(spec.data().samples_size(), 6);
  for (const v1::Sample& sample : spec.data().samples()) {
    const std::string bytes =
        ReadFileOrDie(SourcePath("configs/demo/pictures/zesko/" + sample.file_name()));
    EXPECT_EQ(Coordinator().blobs()[sample.image_digest()], bytes);
  }
}

TEST_F(AppTest, Train_SurvivesABrokenStream) {
  Coordinator().SetScript({RunAt(v1::RUN_STATE_RUNNING, 1)});
  auto done = std::async(std::launch::async, [&] { return Run({"train", RunFile()}); });
  while (Coordinator().watchers() == 0) std::this_thread::yield();
  Coordinator().BreakStreams();
  v1::RunInfo run = RunAt(v1::RUN_STATE_COMPLETED, 100);
  Coordinator().SetRun(run);
  EXPECT_EQ(done.get().code, 0);
}

TEST_F(AppTest, TrainThatFails_Exits5WithTheReason) {
  v1::RunInfo failed = RunAt(v1::RUN_STATE_FAILED, 3);
  failed.mutable_failure()->set_message("loss is NaN at step 4; lower the learning rate");
  Coordinator().SetScript({failed});
  const Outcome outcome = Run({"train", RunFile()});
  EXPECT_EQ(outcome.code, 5);
  EXPECT_THAT(outcome.err, HasSubstr("loss is NaN at step 4"));
}

TEST_F(AppTest, Detach_PrintsTheRunAndReturns) {
  Coordinator();
  const Outcome outcome = Run({"train", RunFile(), "--detach"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "zesko-1\n");
  EXPECT_THAT(outcome.err, HasSubstr("neolog logs -f zesko-1"));
}

struct SignalCase {
  const char* name;
  int signal;
  int code;
};

class TrainSignalTest : public AppTest, public ::testing::WithParamInterface<SignalCase> {};

TEST_P(TrainSignalTest, Signal_DetachesAndStopsNothing) {
  bool stopped = false;
  Coordinator().SetScript({RunAt(v1::RUN_STATE_RUNNING, 1)});
  Coordinator().OnStop([&](const std::string&) { stopped = true; });
  auto done = std::async(std::launch::async, [&] { return Run({"train", RunFile()}); });
  while (Coordinator().watchers() == 0) std::this_thread::yield();
  raise(GetParam().signal);
  const Outcome outcome = done.get();
  EXPECT_EQ(outcome.code, GetParam().code);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("The run goes on"), HasSubstr("neolog logs -f zesko-1")));
  EXPECT_FALSE(stopped);
}

INSTANTIATE_TEST_SUITE_P(All, TrainSignalTest,
                         ::testing::Values(SignalCase{"Interrupt", SIGINT, 130},
                                           SignalCase{"Terminate", SIGTERM, 143},
                                           SignalCase{"HangUp", SIGHUP, 143}),
                         [](const auto& info) { return info.param.name; });

TEST_F(AppTest, TwoInterruptsAndYesOnATerminal_StopTheRun) {
  Coordinator().SetScript({RunAt(v1::RUN_STATE_RUNNING, 1)});
  Coordinator().OnStop(
      [&](const std::string&) { Coordinator().SetRun(RunAt(v1::RUN_STATE_STOPPED, 2)); });
  auto done = std::async(std::launch::async, [&] {
    return Run({"train", RunFile()}, "y\n", /*tty=*/true);
  });
  while (Coordinator().watchers() == 0) std::this_thread::yield();
  raise(SIGINT);
  raise(SIGINT);
  const Outcome outcome = done.get();
  EXPECT_EQ(outcome.code, 5);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("Stop the run?"), HasSubstr("was stopped")));
}

TEST_F(AppTest, DryRun_StartsNothing) {
  const Outcome outcome = Run({"train", RunFile(), "--dry-run"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("nothing was started"));
}

TEST_F(AppTest, ProgramsThatAreNotThere_AreNamed) {
  const Outcome outcome = Run({"train", RunFile()});  // local, and dir_ holds no programs
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("neolog-coordinator"), HasSubstr("neolog-worker")));
}

TEST_F(AppTest, Logs_ShowsTheLastSteps) {
  Coordinator().SetRun(RunAt(v1::RUN_STATE_RUNNING, 30));
  const Outcome outcome = Run({"logs", "zesko", "--tail", "5"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("step 26  loss 0.50000"));
}

}  // namespace
}  // namespace neolog::cli
