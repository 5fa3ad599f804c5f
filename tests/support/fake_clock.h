#pragma once

#include "common/base/clock.h"

namespace neolog::testing {

/// A clock that moves only when told, with the timers that belong to it: Advance runs every closure
/// that falls due, in order, on the calling thread.
class FakeClock : public Clock, public Timers {
 public:
  absl::Time Now() const override;
  SteadyTime SteadyNow() const override;
  TimerId RunAfter(absl::Duration delay, std::function<void()> closure) override;
  void Cancel(TimerId id) override;
  void Advance(absl::Duration by);
  /// Closures waiting.
  size_t pending() const;

 private:
  mutable Mutex mutex_;
  SteadyTime now_ GUARDED_BY(mutex_) = absl::Seconds(1000);
  TimerId next_id_ GUARDED_BY(mutex_) = 1;
  std::multimap<SteadyTime, std::pair<TimerId, std::function<void()>>> due_ GUARDED_BY(mutex_);
};

}  // namespace neolog::testing
