#include "tests/support/fake_clock.h"

#include <algorithm>
#include <utility>

namespace neolog::testing {

absl::Time FakeClock::Now() const { return absl::FromUnixSeconds(1'700'000'000) + SteadyNow(); }

SteadyTime FakeClock::SteadyNow() const {
  MutexLock lock(mutex_);
  return now_;
}

Timers::TimerId FakeClock::RunAfter(absl::Duration delay, std::function<void()> closure) {
  MutexLock lock(mutex_);
  const TimerId id = next_id_++;
  due_.emplace(now_ + std::max(delay, absl::ZeroDuration()),
               std::make_pair(id, std::move(closure)));
  return id;
}

void FakeClock::Cancel(TimerId id) {
  MutexLock lock(mutex_);
  std::erase_if(due_, [&](const auto& entry) { return entry.second.first == id; });
}

void FakeClock::Advance(absl::Duration by) {
  SteadyTime end;
  {
    MutexLock lock(mutex_);
    end = now_ + by;
  }
  for (;;) {
    std::function<void()> closure;
    {
      MutexLock lock(mutex_);
      if (due_.empty() || due_.begin()->first > end) {
        now_ = end;
        return;
      }
      now_ = std::max(now_, due_.begin()->first);
      closure = std::move(due_.begin()->second.second);
      due_.erase(due_.begin());
    }
    closure();
  }
}

size_t FakeClock::pending() const {
  MutexLock lock(mutex_);
  return due_.size();
}

}  // namespace neolog::testing
