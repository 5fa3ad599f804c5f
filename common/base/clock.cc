#include "common/base/clock.h"

#include <chrono>
#include <utility>

#include "absl/time/clock.h"

namespace neolog {

absl::Time SystemClock::Now() const { return absl::Now(); }

SteadyTime SystemClock::SteadyNow() const {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

SystemTimers::SystemTimers() : thread_([this] { Loop(); }) {}

SystemTimers::~SystemTimers() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

Timers::TimerId SystemTimers::RunAfter(absl::Duration delay, std::function<void()> closure) {
  const auto when = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(delay);
  TimerId id;
  {
    MutexLock lock(mutex_);
    id = next_id_++;
    due_.emplace(when, std::make_pair(id, std::move(closure)));
  }
  changed_.NotifyAll();
  return id;
}

void SystemTimers::Cancel(TimerId id) {
  MutexLock lock(mutex_);
  for (auto it = due_.begin(); it != due_.end(); ++it) {
    if (it->second.first == id) {
      due_.erase(it);
      return;
    }
  }
}

void SystemTimers::Loop() {
  for (;;) {
    std::function<void()> closure;
    {
      MutexLock lock(mutex_);
      while (!stopping_ &&
             (due_.empty() || due_.begin()->first > std::chrono::steady_clock::now())) {
        if (due_.empty()) {
          changed_.Wait(mutex_);
        } else {
          changed_.WaitUntil(mutex_, due_.begin()->first);
        }
      }
      if (stopping_) return;
      closure = std::move(due_.begin()->second.second);
      due_.erase(due_.begin());
    }
    closure();  // outside the lock: it may set timers
  }
}

}  // namespace neolog
