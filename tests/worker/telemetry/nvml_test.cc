#include "worker/telemetry/nvml.h"

#include <dlfcn.h>
#include <gmock/gmock.h>

#include <cstdlib>

#include "tests/support/status_matchers.h"

namespace neolog::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kDevice[] = "0000:3b:00.0";

class NvmlTest : public ::testing::Test {
 protected:
  ~NvmlTest() override {
    unsetenv("NEOLOG_FAKE_NVML");
    void* const handle = dlopen(NEOLOG_FAKE_NVML_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    EXPECT_EQ(reinterpret_cast<int (*)()>(dlsym(handle, "neologFakeNvmlLive"))(), 0);
  }
  static std::unique_ptr<DeviceTelemetry> OpenAs(const char* mode) {
    setenv("NEOLOG_FAKE_NVML", mode, 1);
    auto opened = OpenNvml(kDevice, NEOLOG_FAKE_NVML_LIBRARY);
    EXPECT_OK(opened);
    return std::move(opened).value();
  }
};

TEST_F(NvmlTest, Sample_HasWhatTheDeviceSays) {
  const v1::DeviceSample sample = OpenAs("")->Sample();
  EXPECT_EQ(sample.utilization_percent(), 87u);
  EXPECT_EQ(sample.memory_used_bytes(), 21'300'000'000u);
  EXPECT_EQ(sample.memory_total_bytes(), 80'000'000'000u);
  EXPECT_EQ(sample.temperature_celsius(), 64u);
  EXPECT_DOUBLE_EQ(sample.power_watts(), 310.5);
  EXPECT_THAT(sample.throttling(), ElementsAre("heat", "power limit"));
  EXPECT_EQ(sample.ecc_errors(), 2u);
  EXPECT_EQ(sample.last_xid(), 0u);
  EXPECT_EQ(sample.error(), "");
}

TEST_F(NvmlTest, Sample_LeavesOutWhatIsNotSupported) {
  const v1::DeviceSample sample = OpenAs("virtual")->Sample();
  EXPECT_EQ(sample.memory_total_bytes(), 80'000'000'000u);
  EXPECT_FALSE(sample.has_utilization_percent());
  EXPECT_FALSE(sample.has_temperature_celsius());
  EXPECT_FALSE(sample.has_ecc_errors());
  EXPECT_EQ(sample.error(), "");
}

TEST_F(NvmlTest, LostDevice_IsAnErrorOfTheSample) {
  EXPECT_EQ(OpenAs("lost")->Sample().error(), "GPU is lost");
}

TEST_F(NvmlTest, XidEvent_StaysTheLastOne) {
  const auto telemetry = OpenAs("xid");
  EXPECT_EQ(telemetry->Sample().last_xid(), 79u);
  EXPECT_EQ(telemetry->Sample().last_xid(), 79u);
}

TEST_F(NvmlTest, WhatCannotBeOpened_SaysWhy) {
  EXPECT_THAT(
      OpenNvml(kDevice, "/no/such/libnvidia-ml.so.1"),
      testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("comes with NVIDIA's driver")));
  EXPECT_THAT(OpenNvml(kDevice, "libm.so.6"),
              testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("has no nvmlInit_v2")));
  EXPECT_THAT(OpenNvml("0000:00:00.0", NEOLOG_FAKE_NVML_LIBRARY),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr("no device 0000:00:00.0: Not Found")));
  setenv("NEOLOG_FAKE_NVML", "no-init", 1);
  EXPECT_THAT(
      OpenNvml(kDevice, NEOLOG_FAKE_NVML_LIBRARY),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Driver Not Loaded")));
}

}  // namespace
}  // namespace neolog::telemetry
