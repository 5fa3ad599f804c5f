#include "coordinator/cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "coordinator/cli/exit_code.h"

namespace neolog::cli {
namespace {

constexpr size_t kMinBar = 10;
constexpr size_t kMaxBar = 40;

std::string Bar(double fraction, size_t width) {
  const size_t inner = width - 2;
  const size_t filled = std::min(inner, static_cast<size_t>(fraction * static_cast<double>(inner)));
  std::string bar = "[" + std::string(filled, '=');
  if (filled < inner) bar += '>';
  bar.resize(width - 1, ' ');
  return bar + "]";
}

}  // namespace

ProgressView ViewOf(const v1::RunInfo& run) {
  ProgressView view;
  view.name = run.spec().name();
  view.step = run.step();
  view.total = run.total_steps();
  view.rate = run.steps_per_second();
  view.loss = run.step() > 0 ? run.smoothed_loss() : NAN;
  view.eta_seconds = run.step() > 0 ? run.eta_seconds() : -1;
  view.workers = run.roster().members_size();
  if (run.step() == 0 && run.state() != v1::RUN_STATE_COMPLETED) {
    view.phase = run.reason().empty() ? StateName(run.state()) : run.reason();
  } else if (run.state() != v1::RUN_STATE_RUNNING && run.state() != v1::RUN_STATE_COMPLETED) {
    view.phase = run.reason().empty() ? StateName(run.state())
                                      : StateName(run.state()) + ": " + run.reason();
  }
  return view;
}

std::string FormatDuration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto total = static_cast<int64_t>(std::llround(seconds));
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m{:02}s", total / 60, total % 60);
  if (total < 86400) return fmt::format("{}h{:02}m", total / 3600, total % 3600 / 60);
  return fmt::format("{}d{:02}h", total / 86400, total % 86400 / 3600);
}

std::string FormatRate(double steps_per_second) {
  if (!std::isfinite(steps_per_second) || steps_per_second <= 0) return "? steps/s";
  if (steps_per_second >= 1) return fmt::format("{:.1f} steps/s", steps_per_second);
  return fmt::format("{:.1f} s/step", 1 / steps_per_second);
}

std::string FormatProgress(const ProgressView& view, int width) {
  const size_t room =
      width > 1 ? static_cast<size_t>(width - 1) : 1;  // the last column makes some terminals wrap
  const double fraction =
      view.total > 0
          ? std::min(1.0, static_cast<double>(view.step) / static_cast<double>(view.total))
          : 0;
  const std::string steps =
      fmt::format("{}/{} {:3.0f}%", view.step, view.total, std::floor(fraction * 100));
  // In the order in which they go when room is short.
  struct Part {
    std::string text;
    int keep;
  };
  std::vector<Part> parts;
  if (!view.name.empty()) parts.push_back({view.name, 6});
  parts.push_back({steps, 9});
  if (!view.phase.empty()) {
    parts.push_back({view.phase, 5});
  } else {
    if (std::isfinite(view.loss)) parts.push_back({fmt::format("loss {:.4f}", view.loss), 4});
    if (view.rate > 0 || view.total == 0 || view.step < view.total)
      parts.push_back({FormatRate(view.rate), 3});
    if (view.step < view.total) parts.push_back({"ETA " + FormatDuration(view.eta_seconds), 5});
    if (view.workers > 0) {
      parts.push_back({fmt::format("{} worker{}", view.workers, view.workers == 1 ? "" : "s"), 2});
    }
  }
  const auto length = [&] {
    size_t sum = 0;
    for (const Part& part : parts) sum += part.text.size() + 2;
    return sum - 2;
  };
  while (length() > room && parts.size() > 1) {
    parts.erase(std::min_element(parts.begin(), parts.end(),
                                 [](const Part& a, const Part& b) { return a.keep < b.keep; }));
  }
  const size_t used = length();
  std::string line;
  for (const Part& part : parts) {
    if (!line.empty()) line += "  ";
    line += part.text;
    if (part.keep == 9 && used + 2 + kMinBar <= room) {
      line += "  " + Bar(fraction, std::min(kMaxBar, room - used - 2));
    }
  }
  if (line.size() > room) line.resize(room);
  return line;
}

bool LinePacer::ShouldPrint(uint64_t step, uint64_t total, absl::Duration now) {
  const auto tenth = [&](uint64_t s) { return total > 0 ? s * 10 / total : 0; };
  const bool due =
      !printed_ || (step != last_step_ && (tenth(step) != tenth(last_step_) || step >= total ||
                                           now - last_time_ >= absl::Seconds(10)));
  if (!due) return false;
  printed_ = true;
  last_step_ = step;
  last_time_ = now;
  return true;
}

}  // namespace neolog::cli
