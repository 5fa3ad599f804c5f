#include "worker/telemetry/device_sampler.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>

namespace neolog::telemetry {
namespace {

/// Counts its questions, and holds them up while `blocked`.
class CountingTelemetry : public DeviceTelemetry {
 public:
  CountingTelemetry(std::atomic<uint32_t>* asked, std::atomic<bool>* blocked)
      : asked_(asked), blocked_(blocked) {}
  v1::DeviceSample Sample() override {
    const uint32_t turn = ++*asked_;
    while (*blocked_) std::this_thread::yield();
    v1::DeviceSample sample;
    sample.set_utilization_percent(turn);
    return sample;
  }

 private:
  std::atomic<uint32_t>* const asked_;
  std::atomic<bool>* const blocked_;
};

class DeviceSamplerTest : public ::testing::Test {
 protected:
  std::unique_ptr<DeviceTelemetry> Telemetry() {
    return std::make_unique<CountingTelemetry>(&asked_, &blocked_);
  }
  std::atomic<uint32_t> asked_{0};
  std::atomic<bool> blocked_{false};
};

TEST_F(DeviceSamplerTest, Latest_IsTheLastAnswer) {
  DeviceSampler sampler(Telemetry(), std::chrono::milliseconds(1));
  while (asked_ < 4) std::this_thread::yield();
  ASSERT_TRUE(sampler.Latest().has_value());
  EXPECT_GE(sampler.Latest()->utilization_percent(), 3u);
}

TEST_F(DeviceSamplerTest, DriverThatHangs_HoldsUpNobodyWhoAsks) {
  blocked_ = true;
  DeviceSampler sampler(Telemetry(), std::chrono::milliseconds(1));
  while (asked_ == 0) std::this_thread::yield();
  EXPECT_FALSE(sampler.Latest().has_value());
  blocked_ = false;
}

TEST_F(DeviceSamplerTest, End_DoesNotWaitForTheNextQuestion) {
  {
    DeviceSampler sampler(Telemetry(), std::chrono::hours(1));
    while (!sampler.Latest().has_value()) std::this_thread::yield();
  }
  EXPECT_EQ(asked_, 1u);
}

TEST(XidMeaningTest, KnowsTheOnesThatCount) {
  EXPECT_THAT(XidMeaning(79), ::testing::HasSubstr("fallen off the bus"));
  EXPECT_STREQ(XidMeaning(1), "");
}

}  // namespace
}  // namespace neolog::telemetry
