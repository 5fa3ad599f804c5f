#include "coordinator/cli/host_devices.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Planned(const HostDevices& host, const std::string& kind, uint32_t workers,
                                 uint32_t threads) {
  auto devices = PlanWorkers(host, kind, workers, threads);
  EXPECT_OK(devices);
  return devices.ok() ? *devices : std::vector<std::string>();
}

TEST(HostDevicesTest, Cpu_GetsAWorkerForEveryShareOfCores_OrAsManyAsAsked) {
  const HostDevices host{.cores = 8};
  EXPECT_THAT(Planned(host, "cpu", 0, 4), ElementsAre("cpu", "cpu"));
  EXPECT_THAT(Planned(host, "cpu", 0, 16), ElementsAre("cpu"));
  EXPECT_THAT(Planned(host, "cpu", 3, 16), ElementsAre("cpu", "cpu", "cpu"));
}

TEST(HostDevicesTest, Cuda_GetsAWorkerForEveryGpu_OrFewer_NeverMore) {
  const HostDevices host{.cores = 8, .cuda = {"cuda:0", "cuda:1"}};
  EXPECT_THAT(Planned(host, "cuda", 0, 1), ElementsAre("cuda:0", "cuda:1"));
  EXPECT_THAT(Planned(host, "cuda", 1, 1), ElementsAre("cuda:0"));
  EXPECT_THAT(PlanWorkers(host, "cuda", 3, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("3 workers need as many GPUs"),
                             HasSubstr("has 2 (cuda:0, cuda:1)"), HasSubstr("ask for 2"))));
}

TEST(HostDevicesTest, NoGpu_SaysWhyNot) {
  const auto report = nlohmann::ordered_json::parse(
      R"({"devices": ["cpu"], "cuda_error": "this build has no CUDA"})");
  const HostDevices host = HostDevicesOf(report, 4);
  EXPECT_THAT(host.cuda, IsEmpty());
  EXPECT_THAT(PlanWorkers(host, "cuda", 0, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "no GPU to compute on: this build has no CUDA"));
}

TEST(HostDevicesTest, DoctorThatFails_IsAnErrorWithItsWords) {
  const ScopedDir dir;
  const auto script = [&](const std::string& body) {
    const std::string path = dir.File("worker");
    WriteFileOrDie(path, "#!/bin/sh\n" + body + "\n");
    chmod(path.c_str(), 0755);
    return path;
  };
  EXPECT_THAT(AskWorkerDoctor(script("echo 'no libtorch here' >&2; exit 1")),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no libtorch here")));
  EXPECT_THAT(AskWorkerDoctor(script("echo not json")),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("doctor --json")));
  const auto report = AskWorkerDoctor(script(R"(echo '{"devices": ["cpu", "cuda:0"]}')"));
  ASSERT_OK(report);
  EXPECT_THAT(HostDevicesOf(*report, 1).cuda, ElementsAre("cuda:0"));
}

TEST(HostDevicesTest, MigInstances_AreDevicesOfTheirOwn) {
  const auto report = nlohmann::ordered_json::parse(R"({"devices": ["cpu", "MIG-a", "MIG-b"]})");
  EXPECT_THAT(Planned(HostDevicesOf(report, 4), "cuda", 0, 1), ElementsAre("MIG-a", "MIG-b"));
}

TEST(HostDevicesTest, Plan_KnowsMemoryAndBfloat16OfTheDevicesThatAreUsed) {
  const HostDevices host = HostDevicesOf(
      nlohmann::ordered_json::parse(R"({"devices": ["cpu", "cuda:0", "cuda:1"], "gpus": {
          "cuda:0": {"name": "A100", "memory_bytes": 40000000000, "bf16": true},
          "cuda:1": {"name": "Tesla T4", "memory_bytes": 16000000000, "bf16": false}}})"),
      8);
  const auto both = PlanFor(host, 0, "cuda", 0, 1), first = PlanFor(host, 0, "cuda", 1, 1);
  ASSERT_OK(both);
  ASSERT_OK(first);
  EXPECT_EQ(both->memory_each, 16'000'000'000);
  EXPECT_EQ(both->without_bfloat16, "Tesla T4");
  EXPECT_EQ(first->memory_each, 40'000'000'000);
  EXPECT_EQ(first->without_bfloat16, "");
  const auto three = PlanFor(host, 24'000'000'000, "cpu", 3, 1);
  ASSERT_OK(three);
  EXPECT_EQ(three->memory_each, 8'000'000'000);
  EXPECT_EQ(three->without_bfloat16, "");
  EXPECT_GT(PlanLocalWorkers("", "cpu", 1, 1).value().memory_each, 0);
}

}  // namespace
}  // namespace neolog::cli
