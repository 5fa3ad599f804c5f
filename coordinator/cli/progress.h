#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "neolog/v1/run.pb.h"

namespace neolog::cli {

/// What a progress line shows of a run.
struct ProgressView {
  std::string name;
  uint64_t step = 0;
  uint64_t total = 0;
  /// Steps a second; 0 when unknown.
  double rate = 0;
  /// Smoothed loss; not finite when unknown.
  double loss = 0;
  /// Seconds to the end; negative when unknown.
  double eta_seconds = -1;
  int workers = 0;
  /// Said instead of the numbers before the first step: "waiting for workers", "loading".
  std::string phase;
};

/// The view of a run as the coordinator reports it.
ProgressView ViewOf(const v1::RunInfo& run);

/// One line of at most `width` columns. Where room is short the bar goes first, then workers, rate,
/// loss, ETA and the name; step/total stays.
std::string FormatProgress(const ProgressView& view, int width);

/// "4s", "1m05s", "2h03m", "3d04h"; "?" for negative or not finite.
std::string FormatDuration(double seconds);

/// "0.034s", "5.1/s" style: steps a second, or seconds a step below one a second.
std::string FormatRate(double steps_per_second);

/// Decides when a run that nobody watches on a terminal gets another line: at the first step, at
/// every tenth of the run, after 10 s of progress, and at the end.
class LinePacer {
 public:
  /// Whether to print now; remembers that it did.
  bool ShouldPrint(uint64_t step, uint64_t total, absl::Duration now);

 private:
  bool printed_ = false;
  uint64_t last_step_ = 0;
  absl::Duration last_time_;
};

}  // namespace neolog::cli
