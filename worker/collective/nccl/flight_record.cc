#include "worker/collective/nccl/flight_record.h"

#include <fmt/format.h>

#include <iterator>

namespace neolog::collective::nccl {
namespace {

double Milliseconds(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

void FlightRecord::Begin(uint64_t sequence, std::string what, SteadyClock::time_point now) {
  if (entries_.size() == kKept) entries_.pop_front();
  entries_.push_back({.sequence = sequence, .what = std::move(what), .begun = now});
}

void FlightRecord::End(const absl::Status& status, SteadyClock::time_point now) {
  if (entries_.empty()) return;
  Entry& last = entries_.back();
  last.over = true;
  last.ended = now;
  if (!status.ok()) last.error = ToStd(status.message());
}

std::string FlightRecord::Dump(SteadyClock::time_point now) const {
  std::string lines;
  for (const Entry& entry : entries_) {
    if (!entry.over) {
      fmt::format_to(std::back_inserter(lines), "  {} {}: waits for {:.1f} ms\n", entry.sequence,
                     entry.what, Milliseconds(entry.begun, now));
    } else {
      fmt::format_to(std::back_inserter(lines), "  {} {}: {:.1f} ms{}{}\n", entry.sequence,
                     entry.what, Milliseconds(entry.begun, entry.ended),
                     entry.error.empty() ? "" : ", ", entry.error);
    }
  }
  return lines;
}

}  // namespace neolog::collective::nccl
