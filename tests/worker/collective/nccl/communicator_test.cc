#include "worker/collective/nccl/communicator.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include "tests/worker/collective/nccl/fake_library.h"

// Every arrow of the drawing in communicator.h. Ranks are threads; what they meet in is a file.
namespace neolog::collective::nccl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using State = Communicator::State;

absl::Status NothingToSay() { return absl::OkStatus(); }

class CommunicatorTest : public ::testing::Test {
 protected:
  std::unique_ptr<Communicator> Make(std::function<absl::Status()> watch = NothingToSay,
                                     Communicator::Options options = {}) {
    return std::make_unique<Communicator>(fake_.libraries(), std::move(options), std::move(watch));
  }

  /// Both ranks of a new communicator, ready.
  std::pair<std::unique_ptr<Communicator>, std::unique_ptr<Communicator>> MakeReady(
      std::function<absl::Status()> watch = NothingToSay, Communicator::Options options = {}) {
    auto first = Make(std::move(watch), std::move(options));
    auto second = Make();
    const auto id = first->MakeId();
    EXPECT_OK(id);
    auto joined = std::async(std::launch::async, [&] { return second->Init(*id, 1, 2); });
    EXPECT_OK(first->Init(*id, 0, 2));
    EXPECT_OK(joined.get());
    return {std::move(first), std::move(second)};
  }

  static absl::Status Gather(Communicator& communicator, std::byte value,
                             std::vector<std::byte>* gathered = nullptr) {
    std::vector<std::byte> send(3, value), receive(6);
    RETURN_IF_ERROR(
        communicator.Run({.kind = Operation::Kind::kAllGather, .send = send, .receive = receive}));
    if (gathered != nullptr) *gathered = receive;
    return absl::OkStatus();
  }

  /// Aborts once the communicator is in `state`.
  static std::thread AbortIn(Communicator& communicator, State state) {
    return std::thread([&communicator, state] {
      while (communicator.state() != state) std::this_thread::yield();
      communicator.Abort(Aborted("enough"));
    });
  }

  FakeLibrary fake_;
};

TEST_F(CommunicatorTest, NewToReadyToBusyToReady_OperationsGiveTheirResults) {
  auto [first, second] = MakeReady();
  EXPECT_EQ(first->state(), State::kReady);
  for (int round = 0; round < 50; ++round) {
    auto theirs = std::async(std::launch::async,
                             [&, &other = second] { return Gather(*other, std::byte{2}); });
    std::vector<std::byte> gathered;
    ASSERT_OK(Gather(*first, std::byte{1}, &gathered));
    ASSERT_OK(theirs.get());
    const std::byte one{1}, two{2};
    EXPECT_EQ(gathered, (std::vector<std::byte>{one, one, one, two, two, two}));
    EXPECT_EQ(first->state(), State::kReady);
  }
}

TEST_F(CommunicatorTest, OperationLargerThanTheOneBefore_GetsItsSpace) {
  auto [first, second] = MakeReady();
  for (const size_t size : {size_t{1}, size_t{5000}, size_t{100}, size_t{3} << 20}) {
    const auto run = [size](Communicator& communicator, std::byte value) {
      std::vector<std::byte> buffer(size, value);
      const absl::Status status = communicator.Run(
          {.kind = Operation::Kind::kBroadcast, .root = 1, .send = buffer, .receive = buffer});
      EXPECT_EQ(buffer == std::vector<std::byte>(size, std::byte{9}), true) << size;
      return status;
    };
    auto theirs =
        std::async(std::launch::async, [&, &other = second] { return run(*other, std::byte{9}); });
    EXPECT_OK(run(*first, std::byte{0}));
    EXPECT_OK(theirs.get());
  }
}

TEST_F(CommunicatorTest, NewToDead_AbortBeforeInit) {
  auto communicator = Make();
  EXPECT_EQ(communicator->state(), State::kNew);
  communicator->Abort(Aborted("enough"));
  communicator->Abort(Aborted("something else"));
  EXPECT_THAT(communicator->Init({}, 0, 2),
              testing::StatusIs(absl::StatusCode::kAborted, HasSubstr("enough")));
  EXPECT_THAT(communicator->MakeId(),
              testing::StatusIs(absl::StatusCode::kAborted, HasSubstr("enough")));
}

TEST_F(CommunicatorTest, InitialisingToDead_ErrorOfNccl) {
  fake_.SetScript("init_error@0");
  auto communicator = Make();
  const auto id = communicator->MakeId();
  ASSERT_OK(id);
  EXPECT_THAT(communicator->Init(*id, 0, 2),
              testing::StatusIs(absl::StatusCode::kUnavailable,
                                AllOf(HasSubstr("NCCL 2.28.9"), HasSubstr("ncclCommInitRankConfig"),
                                      HasSubstr("unhandled system error: as scripted"))));
}

TEST_F(CommunicatorTest, InitialisingToDead_Watch) {
  auto communicator = Make([] { return Unavailable("worker w1 is gone"); });
  const auto id = communicator->MakeId();
  ASSERT_OK(id);
  EXPECT_THAT(communicator->Init(*id, 0, 2),
              testing::StatusIs(absl::StatusCode::kUnavailable, "worker w1 is gone"));
}

TEST_F(CommunicatorTest, InitialisingToDead_Abort_WhereAPeerNeverComesOrHangs) {
  for (const char* script : {"", "init_hang@0"}) {
    fake_.SetScript(script);
    auto communicator = Make();
    const auto id = communicator->MakeId();
    ASSERT_OK(id);
    std::thread aborter = AbortIn(*communicator, State::kInitialising);
    EXPECT_THAT(communicator->Init(*id, 0, 2),
                testing::StatusIs(absl::StatusCode::kAborted, "enough"));
    aborter.join();
  }
}

TEST_F(CommunicatorTest, ReadyToDead_Abort) {
  auto [first, second] = MakeReady();
  first->Abort(Aborted("enough"));
  EXPECT_THAT(Gather(*first, {}), testing::StatusIs(absl::StatusCode::kAborted, "enough"));
}

TEST_F(CommunicatorTest, BusyToDead_Abort_AlsoWhenTheOperationHangsInTheLibrary) {
  for (const char* script : {"", "never_ends@0#0"}) {
    auto [first, second] = MakeReady();
    fake_.SetScript(script);
    std::thread aborter = AbortIn(*first, State::kBusy);
    EXPECT_THAT(Gather(*first, {}), testing::StatusIs(absl::StatusCode::kAborted, "enough"));
    aborter.join();
    fake_.SetScript("");
  }
}

TEST_F(CommunicatorTest, BusyToDead_Watch) {
  std::atomic<bool> gone{false};
  auto [first, second] =
      MakeReady([&] { return gone ? Unavailable("worker w1 is gone") : absl::OkStatus(); });
  gone = true;
  EXPECT_THAT(Gather(*first, {}),
              testing::StatusIs(absl::StatusCode::kUnavailable, "worker w1 is gone"));
  // Dead for good, with the first reason.
  gone = false;
  EXPECT_THAT(Gather(*first, {}),
              testing::StatusIs(absl::StatusCode::kUnavailable, "worker w1 is gone"));
}

TEST_F(CommunicatorTest, BusyToDead_EveryErrorThatAnOperationCanHave) {
  struct Case {
    const char* script;
    absl::StatusCode code;  // Unavailable: it may be a peer's
    const char* message;
  };
  for (const Case& c :
       {Case{"launch_error@0#1", absl::StatusCode::kUnknown, "internal error"},
        Case{"system_error@0#1", absl::StatusCode::kUnavailable, "system error"},
        Case{"remote_error@0#1", absl::StatusCode::kUnavailable, "remote process exited"},
        Case{"cuda_error@0#1", absl::StatusCode::kUnknown,
             "CUDA device 0: the operation: unspecified launch failure"}}) {
    auto [first, second] = MakeReady();
    fake_.SetScript(c.script);
    auto theirs =
        std::async(std::launch::async, [&, &other = second] { return Gather(*other, {}); });
    EXPECT_OK(Gather(*first, {})) << c.script;  // operation 0
    EXPECT_OK(theirs.get());
    EXPECT_THAT(Gather(*first, {}), testing::StatusIs(c.code, HasSubstr(c.message))) << c.script;
    fake_.SetScript("");
  }
}

TEST_F(CommunicatorTest, DeviceThatIsNotThere_IsAnErrorOfTheFirstCall) {
  auto communicator = Make(NothingToSay, {.device = 100});
  EXPECT_THAT(
      communicator->MakeId(),
      testing::StatusIs(absl::StatusCode::kUnknown,
                        HasSubstr("CUDA device 100: cudaSetDevice: invalid device ordinal")));
}

TEST_F(CommunicatorTest, AbortingToStuck_AbortThatDoesNotReturn) {
  std::optional<absl::Status> stuck;
  auto [first, second] =
      MakeReady(NothingToSay, {.abort_limit = std::chrono::milliseconds(20),
                               .on_stuck = [&](const absl::Status& status) { stuck = status; }});
  fake_.SetScript("abort_hang@0");
  // What waits is free at once, whatever the abort does.
  std::thread aborter = AbortIn(*first, State::kBusy);
  EXPECT_THAT(Gather(*first, {}), testing::StatusIs(absl::StatusCode::kAborted, "enough"));
  aborter.join();
  EXPECT_FALSE(stuck.has_value());
  first.reset();
  ASSERT_TRUE(stuck.has_value());
  EXPECT_THAT(*stuck, testing::StatusIs(absl::StatusCode::kInternal,
                                        HasSubstr("did not end a communicator within 20 ms")));
  second.reset();
  // Its thread was left behind; nothing of it may be in use when the test ends.
  fake_.SetScript("");
  fake_.Release();
  while (FakeLibrary::Live() != 0) std::this_thread::yield();
}

TEST_F(CommunicatorTest, HundredCommunicators_LeaveNothingBehind) {
  for (int i = 0; i < 100; ++i) {
    auto [first, second] = MakeReady();
    auto theirs =
        std::async(std::launch::async, [&, &other = second] { return Gather(*other, {}); });
    EXPECT_OK(Gather(*first, {}));
    EXPECT_OK(theirs.get());
  }
  EXPECT_EQ(FakeLibrary::Live(), 0);
}

}  // namespace
}  // namespace neolog::collective::nccl
