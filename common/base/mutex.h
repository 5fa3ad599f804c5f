#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"

// Clang's thread-safety annotations; nothing under other compilers. Debian's abseil defines some of
// the names too: it is included first, so that the order of a file's includes does not matter.
#undef GUARDED_BY
#undef PT_GUARDED_BY
#undef NO_THREAD_SAFETY_ANALYSIS
#if defined(__clang__)
#define NEOLOG_TSA_(x) __attribute__((x))
#else
#define NEOLOG_TSA_(x)
#endif
#define CAPABILITY(x) NEOLOG_TSA_(capability(x))
#define SCOPED_CAPABILITY NEOLOG_TSA_(scoped_lockable)
#define GUARDED_BY(x) NEOLOG_TSA_(guarded_by(x))
#define PT_GUARDED_BY(x) NEOLOG_TSA_(pt_guarded_by(x))
#define REQUIRES(...) NEOLOG_TSA_(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) NEOLOG_TSA_(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) NEOLOG_TSA_(acquire_capability(__VA_ARGS__))
#define RELEASE(...) NEOLOG_TSA_(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS NEOLOG_TSA_(no_thread_safety_analysis)

namespace neolog {

/// std::mutex with annotations. Not absl::Mutex: Debian's abseil is not built for ThreadSanitizer,
/// which then reports every use of it as a race.
class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

/// Holds a Mutex while it lives.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// A condition variable for Mutex. Wait in a loop on the condition: `while (!done_)
/// changed_.Wait(mutex_);`.
class CondVar {
 public:
  void Wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  /// False when `deadline` passed first.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool notified = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace neolog
