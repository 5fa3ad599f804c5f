#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace neolog {

/// A point on the monotonic clock. Leases and timeouts use it; wall time is only for people.
using SteadyTime = absl::Duration;  // since an arbitrary start

/// Where all time comes from. Nothing else in the program reads a clock.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Wall time: for logs, status and file names; it may jump.
  virtual absl::Time Now() const = 0;
  /// Monotonic time: for leases, deadlines and rates; it never jumps.
  virtual SteadyTime SteadyNow() const = 0;
};

/// Runs closures later. Clock and timers are injected together, so a test that moves the clock also
/// fires the timers.
class Timers {
 public:
  using TimerId = uint64_t;
  virtual ~Timers() = default;
  /// Runs `closure` once, no earlier than `delay` from now, on the timers' own thread. `closure`
  /// must not block.
  virtual TimerId RunAfter(absl::Duration delay, std::function<void()> closure) = 0;
  /// The closure will not start after this returns. It may be running on another thread. Unknown
  /// ids are ignored.
  virtual void Cancel(TimerId id) = 0;
};

/// The machine's clocks.
class SystemClock : public Clock {
 public:
  absl::Time Now() const override;
  SteadyTime SteadyNow() const override;
};

/// Timers on one thread of their own. The destructor drops what has not started and joins.
class SystemTimers : public Timers {
 public:
  SystemTimers();
  ~SystemTimers() override;
  TimerId RunAfter(absl::Duration delay, std::function<void()> closure) override;
  void Cancel(TimerId id) override;

 private:
  void Loop();

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  TimerId next_id_ GUARDED_BY(mutex_) = 1;
  std::multimap<std::chrono::steady_clock::time_point, std::pair<TimerId, std::function<void()>>>
      due_ GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the members above
};

}  // namespace neolog
