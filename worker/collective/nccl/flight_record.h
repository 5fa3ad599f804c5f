#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "common/base/status.h"

namespace neolog::collective::nccl {

using SteadyClock = std::chrono::steady_clock;

/// The last operations of one communicator, kept to be read when one of them does not end. Not
/// synchronised.
class FlightRecord {
 public:
  static constexpr size_t kKept = 64;

  /// Operation `sequence` begins; the oldest beyond kKept is forgotten.
  void Begin(uint64_t sequence, std::string what, SteadyClock::time_point now);
  /// The one that began last has ended.
  void End(const absl::Status& status, SteadyClock::time_point now);
  /// One line an operation, the oldest first: number, what it was, and how long it took or has
  /// waited.
  std::string Dump(SteadyClock::time_point now) const;

 private:
  struct Entry {
    uint64_t sequence = 0;
    std::string what;
    SteadyClock::time_point begun;
    SteadyClock::time_point ended;
    bool over = false;
    std::string error;
  };
  std::deque<Entry> entries_;
};

}  // namespace neolog::collective::nccl
