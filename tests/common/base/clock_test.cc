#include "common/base/clock.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "tests/support/fake_clock.h"

namespace neolog {
namespace {

using ::neolog::testing::FakeClock;

TEST(SystemTimersTest, RunsInOrderOfTheirTimes) {
  SystemTimers timers;
  std::promise<std::vector<int>> done;
  std::vector<int> order;  // only touched on the timers' thread
  timers.RunAfter(absl::Milliseconds(20), [&] {
    order.push_back(2);
    done.set_value(order);
  });
  timers.RunAfter(absl::Milliseconds(1), [&] { order.push_back(1); });
  EXPECT_EQ(done.get_future().get(), (std::vector<int>{1, 2}));
}

TEST(SystemTimersTest, CancelledTimersDoNotRunAndClosuresMaySetTimers) {
  SystemTimers timers;
  std::promise<void> done;
  bool cancelled_ran = false;
  const auto id = timers.RunAfter(absl::Milliseconds(5), [&] { cancelled_ran = true; });
  timers.Cancel(id);
  timers.RunAfter(absl::ZeroDuration(),
                  [&] { timers.RunAfter(absl::Milliseconds(10), [&] { done.set_value(); }); });
  done.get_future().wait();
  EXPECT_FALSE(cancelled_ran);
}

TEST(FakeClockTest, AdvanceFiresWhatFallsDueAtItsTime) {
  FakeClock clock;
  const SteadyTime start = clock.SteadyNow();
  std::vector<absl::Duration> fired;
  clock.RunAfter(absl::Seconds(2), [&] { fired.push_back(clock.SteadyNow() - start); });
  clock.RunAfter(absl::Seconds(1), [&] {
    fired.push_back(clock.SteadyNow() - start);
    clock.RunAfter(absl::Seconds(1), [&] { fired.push_back(clock.SteadyNow() - start); });
  });
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(fired,
            (std::vector<absl::Duration>{absl::Seconds(1), absl::Seconds(2), absl::Seconds(2)}));
  EXPECT_EQ(clock.pending(), 0u);
}

}  // namespace
}  // namespace neolog
