#include "coordinator/cli/output.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <yaml-cpp/yaml.h>

#include "coordinator/cli/console.h"
#include "coordinator/cli/exit_code.h"
#include "coordinator/cli/suggest.h"

namespace neolog::cli {
namespace {

using ::testing::HasSubstr;

v1::GetStatusResponse Status() {
  v1::GetStatusResponse status;
  status.set_version("0.1.0");
  status.mutable_started_at()->set_seconds(1'000'000);
  v1::RunInfo& run = *status.add_runs();
  run.set_run_id("zesko-1a2b3c");
  run.mutable_spec()->set_name("zesko");
  run.set_state(v1::RUN_STATE_RUNNING);
  run.set_reason("2 of 2 workers");
  run.set_step(123);
  run.set_total_steps(350);
  run.set_smoothed_loss(0.0285f);
  run.set_steps_per_second(5.1f);
  run.set_eta_seconds(44);
  run.mutable_submitted_at()->set_seconds(1'000'100);
  run.mutable_roster()->set_version(7);
  run.mutable_roster()->add_members();
  run.mutable_roster()->add_members();
  v1::RunInfo& failed = *status.add_runs();
  failed.set_run_id("no");
  failed.mutable_spec()->set_name("no");
  failed.set_state(v1::RUN_STATE_FAILED);
  failed.set_total_steps(10);
  failed.mutable_failure()->set_message("the loss is NaN; try a lower rate");
  v1::WorkerInfo& worker = *status.add_workers();
  worker.mutable_worker()->set_worker_id("w0");
  worker.mutable_worker()->set_incarnation(0xFFFFFFFFFFFFFFFF);
  worker.set_state("stepping");
  worker.set_run_id("zesko-1a2b3c");
  worker.set_step(123);
  worker.set_heartbeat_age_seconds(0.21);
  return status;
}

TableStyle Style() { return {false, true, absl::FromUnixSeconds(1'000'160)}; }

TEST(FormatStatusTest, Table_HasRunsAndWorkersWithReasons) {
  EXPECT_EQ(
      FormatStatus(Status(), OutputFormat::kTable, Style()),
      "coordinator 0.1.0, up 2m40s\n"
      "\n"
      "NAME   RUN           STATE    STEP     LOSS    RATE         ETA  WORKERS  AGE    REASON\n"
      "zesko  zesko-1a2b3c  running  123/350  0.0285  5.1 steps/s  44s  2        1m00s  2 of 2 "
      "workers\n"
      "no     no            failed   0/10     -       -            -    0        -      the loss "
      "is NaN; try a lower rate\n"
      "\n"
      "WORKER  STATE     RUN           STEP  HEARTBEAT  REASON\n"
      "w0      stepping  zesko-1a2b3c  123   0.2s ago\n");
}

TEST(FormatStatusTest, Workers_HaveTheirGpusWordsWhereOneSaysSomething) {
  v1::GetStatusResponse status = Status();
  v1::DeviceSample& sample = *status.mutable_workers(0)->mutable_device_sample();
  *status.add_workers() = Status().workers(0);
  sample.set_utilization_percent(87);
  sample.set_memory_used_bytes(21'300'000'000);
  sample.set_memory_total_bytes(80'000'000'000);
  sample.set_temperature_celsius(64);
  sample.set_power_watts(310.4);
  sample.add_throttling("heat");
  sample.add_throttling("power limit");
  sample.set_ecc_errors(2);
  sample.set_last_xid(79);
  sample.set_error("GPU is lost");
  EXPECT_EQ(WorkersTable(status.workers(), Style()),
            "WORKER  STATE     RUN           STEP  HEARTBEAT  GPU"
            "                                                                                      "
            "                 REASON\n"
            "w0      stepping  zesko-1a2b3c  123   0.2s ago   87 %, 21.3 of 80.0 GB, 64 C, 310 W, "
            "slowed by heat and power limit, 2 memory errors, Xid 79, GPU is lost\n"
            "w0      stepping  zesko-1a2b3c  123   0.2s ago   -\n");
}

TEST(FormatStatusTest, NoHeadersAndWide) {
  TableStyle style = Style();
  style.headers = false;
  EXPECT_THAT(RunsTable(Status().runs(), style), ::testing::Not(HasSubstr("NAME")));
  style = Style();
  style.wide = true;
  EXPECT_THAT(RunsTable(Status().runs(), style), HasSubstr("v7"));
  EXPECT_THAT(WorkersTable(Status().workers(), style), HasSubstr("THREADS"));
}

TEST(FormatStatusTest, Json_IsTheProtobufJsonOfTheReply) {
  const std::string json = FormatStatus(Status(), OutputFormat::kJson, Style());
  v1::GetStatusResponse back;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &back).ok());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(back, Status()));
  EXPECT_THAT(json, HasSubstr("\"startedAt\": \"1970-01-12T13:46:40Z\""));
}

TEST(FormatStatusTest, Yaml_KeepsWordsThatLookLikeOtherThings) {
  const YAML::Node yaml = YAML::Load(FormatStatus(Status(), OutputFormat::kYaml, Style()));
  EXPECT_EQ(yaml["runs"][1]["runId"].as<std::string>(), "no");
  EXPECT_EQ(yaml["runs"][0]["step"].as<int>(), 123);
  EXPECT_EQ(yaml["runs"][0]["startedAt"].IsDefined(), false);
}

TEST(FormatStatusTest, Name_IsOneALine) {
  EXPECT_EQ(FormatStatus(Status(), OutputFormat::kName, Style()),
            "run/zesko-1a2b3c\nrun/no\nworker/w0\n");
}

TEST(FormatTableTest, WideCharacters_AlignByCodePoint) {
  EXPECT_EQ(FormatTable({{"A", "B"}, {"é", "x"}, {"long", "y"}}), "A     B\né     x\nlong  y\n");
}

TEST(ExitCodeTest, Errors) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), 7);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
}

TEST(ExitCodeTest, RunStates) {
  EXPECT_EQ(ExitCodeOf(v1::RUN_STATE_COMPLETED), 0);
  EXPECT_EQ(ExitCodeOf(v1::RUN_STATE_FAILED), 5);
  EXPECT_EQ(ExitCodeOf(v1::RUN_STATE_STOPPED), 5);
  EXPECT_EQ(ExitCodeOf(v1::RUN_STATE_PAUSED), 75);
  EXPECT_TRUE(IsActive(v1::RUN_STATE_PAUSING));
  EXPECT_FALSE(IsActive(v1::RUN_STATE_PAUSED));
  EXPECT_EQ(StateName(v1::RUN_STATE_STOPPING), "stopping");
}

TEST(NearestTest, FindsTyposPrefixesAndNothingElse) {
  const std::vector<std::string> commands = {"train", "status", "stop", "resume", "doctor"};
  EXPECT_EQ(Nearest("trian", commands), "train");
  EXPECT_EQ(Nearest("stat", commands), "status");
  EXPECT_EQ(Nearest("resmue", commands), "resume");
  EXPECT_EQ(Nearest("launch", commands), "");
  EXPECT_EQ(Nearest("", commands), "");
}

struct ColorCase {
  const char* name;
  ColorMode mode;
  bool tty;
  std::map<std::string, std::string> env;
  bool color;
};

class UseColorTest : public ::testing::TestWithParam<ColorCase> {};

TEST_P(UseColorTest, Rules) {
  const auto env = [](std::string_view name) -> std::optional<std::string> {
    const auto found = GetParam().env.find(std::string(name));
    return found == GetParam().env.end() ? std::nullopt : std::optional(found->second);
  };
  EXPECT_EQ(UseColor(GetParam().mode, GetParam().tty, env), GetParam().color);
}

INSTANTIATE_TEST_SUITE_P(
    All, UseColorTest,
    ::testing::Values(
        ColorCase{"Terminal", ColorMode::kAuto, true, {{"TERM", "xterm"}}, true},
        ColorCase{"Pipe", ColorMode::kAuto, false, {{"TERM", "xterm"}}, false},
        ColorCase{"Dumb", ColorMode::kAuto, true, {{"TERM", "dumb"}}, false},
        ColorCase{"NoColor", ColorMode::kAuto, true, {{"TERM", "xterm"}, {"NO_COLOR", "1"}}, false},
        ColorCase{
            "EmptyNoColor", ColorMode::kAuto, true, {{"TERM", "xterm"}, {"NO_COLOR", ""}}, true},
        ColorCase{"Forced", ColorMode::kAuto, false, {{"CLICOLOR_FORCE", "1"}}, true},
        ColorCase{"ForcedOff", ColorMode::kAuto, false, {{"CLICOLOR_FORCE", "0"}}, false},
        ColorCase{"Always", ColorMode::kAlways, false, {{"NO_COLOR", "1"}}, true},
        ColorCase{"Never", ColorMode::kNever, true, {{"CLICOLOR_FORCE", "1"}}, false}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace neolog::cli
