#include "worker/agent/agent.h"

#include <gmock/gmock.h>

#include "common/base/version.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace neolog::agent {
namespace {

using ::neolog::testing::FakeClock;
using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A coordinator in the test's hands. Its callbacks run on the test's thread.
class FakeConnector : public AgentConnector {
 public:
  struct Stream : AgentStream {
    bool Write(v1::WorkerMessage message) override {
      written.push_back(std::move(message));
      return true;
    }
    void Finish() override { finished = true; }
    void Cancel() override { cancelled = true; }
    std::vector<v1::WorkerMessage> written;
    bool finished = false;
    bool cancelled = false;
    std::function<void(const v1::CoordinatorMessage&)> on_message;
    std::function<void(const absl::Status&)> on_closed;
  };
  std::shared_ptr<AgentStream> Open(std::function<void(const v1::CoordinatorMessage&)> on_message,
                                    std::function<void(const absl::Status&)> on_closed) override {
    streams.push_back(std::make_shared<Stream>());
    streams.back()->on_message = std::move(on_message);
    streams.back()->on_closed = std::move(on_closed);
    return streams.back();
  }
  Stream& last() { return *streams.back(); }
  std::vector<std::shared_ptr<Stream>> streams;
};

class FakeListener : public AgentListener {
 public:
  void OnAssignment(const v1::Assignment& a, const v1::WorkerIdentity& self) override {
    heard.push_back("assignment " + a.team_id() + " as " + std::to_string(self.incarnation()));
  }
  void OnControl(const v1::ControlRequest& c) override { heard.push_back("control " + c.run_id()); }
  void OnCommitted(const v1::Committed& c) override {
    heard.push_back("committed " + std::to_string(c.step()));
  }
  void OnLatent(const v1::LatentReport& l) override { heard.push_back("latent " + l.key()); }
  void OnRefused(const v1::Refused& r) override { heard.push_back("refused " + r.message()); }
  void OnConnection(bool connected) override { heard.push_back(connected ? "online" : "away"); }
  void OnRevoked() override { heard.push_back("revoked"); }
  void Tick() override { ++ticks; }
  v1::Heartbeat Progress() const override {
    v1::Heartbeat heartbeat;
    heartbeat.set_phase("stepping");
    return heartbeat;
  }
  v1::AssignmentReport Held() const override { return held; }
  std::vector<std::string> heard;
  v1::AssignmentReport held;
  int ticks = 0;
};

class AgentTest : public ::testing::Test {
 protected:
  AgentTest() : agent_(Options(), &connector_, &clock_, &clock_) {}
  AgentOptions Options() {
    AgentOptions options{.worker_id = "w0", .draw_incarnation = [this] { return ++incarnations_; }};
    options.registration.set_peer_address("unix:/p");
    options.device_sample = [this] { return device_sample_; };
    return options;
  }
  void Start() {
    agent_.Start(&listener_, [this](const absl::Status& status) { ended_.push_back(status); });
  }
  void Register() {
    v1::CoordinatorMessage message;
    message.mutable_registered()->set_version(kVersion);
    message.mutable_registered()->set_heartbeat_interval_ms(100);
    message.mutable_registered()->set_lease_ms(1000);
    connector_.last().on_message(message);
  }
  void Refuse(v1::Refused::Code code) {
    v1::CoordinatorMessage message;
    message.mutable_refused()->set_code(code);
    message.mutable_refused()->set_message("because");
    connector_.last().on_message(message);
  }

  uint64_t incarnations_ = 0;
  std::optional<v1::DeviceSample> device_sample_;
  FakeConnector connector_;
  FakeClock clock_;
  FakeListener listener_;
  std::vector<absl::Status> ended_;
  Agent agent_;
};

TEST_F(AgentTest, RegistersFirst_ThenHeartbeatsAtTheIntervalToldToIt) {
  Start();
  ASSERT_EQ(connector_.last().written.size(), 1U);
  const v1::WorkerMessage hello = connector_.last().written[0];
  EXPECT_EQ(hello.worker().worker_id(), "w0");
  EXPECT_EQ(hello.worker().incarnation(), 1U);
  EXPECT_EQ(hello.register_().version(), kVersion);
  EXPECT_EQ(hello.register_().peer_address(), "unix:/p");
  EXPECT_FALSE(hello.register_().has_held());
  EXPECT_FALSE(agent_.Send({})) << "not registered yet";
  Register();
  EXPECT_THAT(listener_.heard, ElementsAre("online"));
  clock_.Advance(absl::Milliseconds(250));
  ASSERT_EQ(connector_.last().written.size(), 4U) << "hello, a heartbeat at once, two more";
  EXPECT_EQ(connector_.last().written[3].heartbeat().phase(), "stepping");
  EXPECT_EQ(connector_.last().written[3].worker().incarnation(), 1U);
  EXPECT_EQ(listener_.ticks, 3);
}

TEST_F(AgentTest, Heartbeats_SayWhatTheDeviceLastSaid) {
  Start();
  Register();
  EXPECT_FALSE(connector_.last().written.back().heartbeat().has_device_sample());
  device_sample_.emplace().set_temperature_celsius(64);
  clock_.Advance(absl::Milliseconds(100));
  const v1::Heartbeat& heartbeat = connector_.last().written.back().heartbeat();
  EXPECT_EQ(heartbeat.device_sample().temperature_celsius(), 64u);
}

TEST_F(AgentTest, PassesOnWhatItHears_InOrder) {
  Start();
  Register();
  v1::CoordinatorMessage message;
  message.mutable_assignment()->set_team_id("t");
  connector_.last().on_message(message);
  message.mutable_control()->set_run_id("r");
  connector_.last().on_message(message);
  message.mutable_committed()->set_step(3);
  connector_.last().on_message(message);
  message.mutable_latent()->set_key("k");
  connector_.last().on_message(message);
  Refuse(v1::Refused::CODE_DIVERGED);
  EXPECT_THAT(listener_.heard, ElementsAre("online", "assignment t as 1", "control r",
                                           "committed 3", "latent k", "refused because"));
  EXPECT_FALSE(connector_.last().cancelled);
}

TEST_F(AgentTest, BrokenStream_ReconnectsWithBackoffAndTheSameIncarnation_SayingWhatItHolds) {
  Start();
  Register();
  listener_.held.set_team_id("t");
  listener_.held.set_roster_version(4);
  connector_.last().on_closed(Unavailable("gone"));
  EXPECT_FALSE(agent_.Send({}));
  EXPECT_THAT(listener_.heard, ElementsAre("online", "away"));
  clock_.Advance(absl::Milliseconds(49));
  EXPECT_EQ(connector_.streams.size(), 1U);
  clock_.Advance(absl::Milliseconds(1));
  ASSERT_EQ(connector_.streams.size(), 2U);
  EXPECT_EQ(connector_.last().written[0].register_().held().roster_version(), 4U);
  EXPECT_EQ(connector_.last().written[0].worker().incarnation(), 1U);
  connector_.last().on_closed(Unavailable("still gone"));
  clock_.Advance(absl::Milliseconds(99));
  EXPECT_EQ(connector_.streams.size(), 2U);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(connector_.streams.size(), 3U);
  Register();
  EXPECT_THAT(listener_.heard, ElementsAre("online", "away", "online"));
}

TEST_F(AgentTest, MessagesOfAnOlderStream_AreIgnored) {
  Start();
  Register();
  auto old = connector_.streams[0];
  old->on_closed(Unavailable("gone"));
  clock_.Advance(absl::Seconds(1));
  v1::CoordinatorMessage message;
  message.mutable_assignment()->set_team_id("late");
  old->on_message(message);
  EXPECT_THAT(listener_.heard, ElementsAre("online", "away"));
}

TEST_F(AgentTest, StaleIncarnation_DrawsANewOne_AndRegistersAtOnce) {
  Start();
  Register();
  Refuse(v1::Refused::CODE_STALE_INCARNATION);
  EXPECT_THAT(listener_.heard, ElementsAre("online", "revoked"));
  EXPECT_TRUE(connector_.last().cancelled);
  connector_.last().on_closed(absl::CancelledError("cancelled"));
  clock_.Advance(absl::ZeroDuration());
  ASSERT_EQ(connector_.streams.size(), 2U);
  EXPECT_EQ(connector_.last().written[0].worker().incarnation(), 2U);
  EXPECT_EQ(agent_.identity().incarnation(), 2U);
  EXPECT_THAT(ended_, IsEmpty());
}

TEST_F(AgentTest, OtherVersion_Ends) {
  Start();
  Refuse(v1::Refused::CODE_VERSION);
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_THAT(ended_[0], StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("because")));
}

TEST_F(AgentTest, CoordinatorOfAnotherVersion_Ends) {
  Start();
  v1::CoordinatorMessage message;
  message.mutable_registered()->set_version("9.9.0");
  connector_.last().on_message(message);
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_THAT(ended_[0], StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("9.9.0")));
}

TEST_F(AgentTest, DuplicateId_IsWaitedOutForAWhile) {
  Start();
  for (int i = 0; i < 100 && ended_.empty(); ++i) {
    Refuse(v1::Refused::CODE_DUPLICATE_ID);
    if (!ended_.empty()) break;
    connector_.last().on_closed(absl::CancelledError("cancelled"));
    clock_.Advance(absl::Seconds(1));
  }
  ASSERT_EQ(ended_.size(), 1U);
  EXPECT_THAT(ended_[0], StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("because")));
  EXPECT_GE(connector_.streams.size(), 15U);
}

TEST_F(AgentTest, Shutdown_EndsInGoodOrder) {
  Start();
  Register();
  v1::CoordinatorMessage message;
  message.mutable_shutdown()->set_reason("asked to");
  connector_.last().on_message(message);
  EXPECT_THAT(ended_, ElementsAre(absl::OkStatus()));
  connector_.last().on_closed(absl::OkStatus());
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(connector_.streams.size(), 1U) << "no new stream after the end";
}

TEST_F(AgentTest, Leave_SaysGoodbyeAndEndsWhenTheStreamDoes) {
  Start();
  Register();
  agent_.Leave("SIGTERM");
  EXPECT_EQ(connector_.last().written.back().goodbye().reason(), "SIGTERM");
  EXPECT_TRUE(connector_.last().finished);
  EXPECT_THAT(ended_, IsEmpty());
  connector_.last().on_closed(absl::OkStatus());
  EXPECT_THAT(ended_, ElementsAre(absl::OkStatus()));
}

TEST_F(AgentTest, LeaveWhileAway_EndsAtOnce) {
  Start();
  connector_.last().on_closed(Unavailable("gone"));
  agent_.Leave("SIGTERM");
  EXPECT_THAT(ended_, ElementsAre(absl::OkStatus()));
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(connector_.streams.size(), 1U);
}

TEST(BackoffForTest, DoublesUpToTheLimit) {
  const AgentOptions options;
  EXPECT_EQ(BackoffFor(0, options), absl::Milliseconds(50));
  EXPECT_EQ(BackoffFor(3, options), absl::Milliseconds(400));
  EXPECT_EQ(BackoffFor(5, options), absl::Seconds(1));
  EXPECT_EQ(BackoffFor(1000000, options), absl::Seconds(1));
}

}  // namespace
}  // namespace neolog::agent
