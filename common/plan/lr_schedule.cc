#include "common/plan/lr_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "common/plan/fixed_math.h"

namespace neolog {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view Trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  const size_t first = s.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(kSpace) - first + 1);
}

// Python allows one '_' between two digits; the number without them, or nothing where one stands
// elsewhere.
std::optional<std::string> WithoutUnderscores(std::string_view s) {
  std::string digits;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '_') {
      digits.push_back(s[i]);
    } else if (i == 0 || i + 1 == s.size() || !IsDigit(s[i - 1]) || !IsDigit(s[i + 1])) {
      return std::nullopt;
    }
  }
  return digits;
}

// A Python float literal with optional sign. Values beyond double become infinity or 0, as Python's
// do.
std::optional<double> ParsePythonFloat(std::string_view text) {
  const std::optional<std::string> clean = WithoutUnderscores(text);
  if (!clean) return std::nullopt;
  std::string_view s = *clean;
  bool negative = false;
  if (!s.empty() && (s.front() == '+' || s.front() == '-')) {
    negative = s.front() == '-';
    s.remove_prefix(1);
  }
  if (s.empty() || s.front() == '+' || s.front() == '-') return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (end != s.data() + s.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    const size_t exponent = s.find_first_of("eE");
    const bool tiny =
        exponent != std::string_view::npos && exponent + 1 < s.size() && s[exponent + 1] == '-';
    value = tiny ? 0.0 : std::numeric_limits<double>::infinity();
  }
  return negative ? -value : value;
}

// A Python int in base 10 with optional sign, held within int64.
std::optional<int64_t> ParsePythonInt(std::string_view text) {
  const std::optional<std::string> clean = WithoutUnderscores(text);
  if (!clean) return std::nullopt;
  std::string_view s = *clean;
  bool negative = false;
  if (!s.empty() && (s.front() == '+' || s.front() == '-')) {
    negative = s.front() == '-';
    s.remove_prefix(1);
  }
  if (s.empty() || !std::all_of(s.begin(), s.end(), IsDigit)) return std::nullopt;
  // "007" is not a Python literal but int("007") is 7.
  int64_t value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error == std::errc::result_out_of_range) value = std::numeric_limits<int64_t>::max();
  return negative ? -value : value;
}

absl::Status BadItem(std::string_view text, std::string_view item, size_t number, size_t column,
                     std::string_view what) {
  return InvalidArgument(fmt::format(
      "learning_rate '{}': item {} ('{}', column {}): {}; expected a rate, or rate:step as in "
      "'0.005:100, 1e-3'",
      text, number, item, column + 1, what));
}

}  // namespace

absl::StatusOr<std::vector<RatePiece>> ParseStepList(std::string_view text, uint64_t max_steps) {
  if (max_steps == 0) return InvalidArgument("training.steps is 0; expected at least 1");
  std::vector<RatePiece> pieces;
  size_t number = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string_view raw = text.substr(begin, comma - begin);
    const std::string_view item = Trim(raw);
    const size_t column =
        begin + (item.empty() ? 0 : static_cast<size_t>(item.data() - raw.data()));
    begin = comma + 1;
    ++number;
    if (item.empty()) continue;

    const size_t colon = item.find(':');
    const std::string_view rate_text = Trim(item.substr(0, colon));
    const std::optional<double> rate = ParsePythonFloat(rate_text);
    if (!rate) {
      return BadItem(text, item, number, column, fmt::format("'{}' is not a number", rate_text));
    }
    if (!std::isfinite(*rate) || *rate < 0) {
      return BadItem(text, item, number, column,
                     fmt::format("the rate '{}' is not a finite number of 0 or above", rate_text));
    }
    std::optional<int64_t> step = -1;
    if (colon != std::string_view::npos) {
      const std::string_view step_text = Trim(item.substr(colon + 1));
      step = ParsePythonInt(step_text);
      if (!step) {
        return BadItem(text, item, number, column,
                       fmt::format("the step '{}' is not a whole number", step_text));
      }
    }
    if (*step < -1 || *step == 0) continue;  // never reached

    const bool last = *step == -1 || static_cast<uint64_t>(*step) > max_steps;
    const uint64_t bound = last ? max_steps : static_cast<uint64_t>(*step);
    // The list moves on by one item a step, so an item that is already over still holds for one.
    const uint64_t until = pieces.empty() ? bound : std::max(bound, pieces.back().until + 1);
    if (until <= max_steps) pieces.push_back({*rate, until});
    if (last) break;
  }
  if (pieces.empty()) {
    return InvalidArgument(
        fmt::format("learning_rate '{}' names no rate that applies after step 0; expected a rate, "
                    "or rate:step as in "
                    "'0.005:100, 1e-3'",
                    text));
  }
  return pieces;
}

double RateAt(const std::vector<RatePiece>& pieces, uint64_t completed_steps) {
  for (const RatePiece& piece : pieces) {
    if (completed_steps < piece.until) return piece.rate;
  }
  return pieces.back().rate;
}

absl::StatusOr<LrSchedule> LrSchedule::Create(const v1::TrainingSpec& training) {
  LrSchedule schedule;
  ASSIGN_OR_RETURN_WITH(schedule.pieces_, ParseStepList(training.learning_rate(), training.steps()),
                        "training.learning_rate");
  schedule.total_steps_ = std::min<uint64_t>(training.steps(), schedule.pieces_.back().until);
  if (training.schedule().empty() || training.schedule() == "constant") {
    schedule.curve_ = Curve::kConstant;
  } else if (training.schedule() == "linear") {
    schedule.curve_ = Curve::kLinear;
  } else if (training.schedule() == "cosine") {
    schedule.curve_ = Curve::kCosine;
  } else {
    return InvalidArgument(
        fmt::format("training.schedule '{}' is unknown; expected constant, linear or cosine",
                    training.schedule()));
  }
  if (!(training.final_factor() >= 0 && training.final_factor() <= 1)) {
    return InvalidArgument(
        fmt::format("training.final_factor is {}; expected 0 to 1", training.final_factor()));
  }
  if (training.warmup_steps() >= schedule.total_steps_ && training.warmup_steps() > 0) {
    return InvalidArgument(fmt::format(
        "training.warmup_steps is {} but the run takes {} steps; expected fewer warm-up steps",
        training.warmup_steps(), schedule.total_steps_));
  }
  schedule.warmup_steps_ = training.warmup_steps();
  schedule.final_factor_ = training.final_factor();
  return schedule;
}

double LrSchedule::At(uint64_t completed_steps) const {
  const uint64_t k = std::min(completed_steps, total_steps_);
  const double rate = RateAt(pieces_, k);
  if (k < warmup_steps_) {
    return rate * (static_cast<double>(k + 1) / static_cast<double>(warmup_steps_));
  }
  const double p =
      static_cast<double>(k - warmup_steps_) / static_cast<double>(total_steps_ - warmup_steps_);
  const double range = 1.0 - final_factor_;
  switch (curve_) {
    case Curve::kConstant: return rate;
    case Curve::kLinear: return rate * (1.0 - range * p);
    case Curve::kCosine:
      return rate * (final_factor_ + range * (0.5 * (1.0 + FixedSinCosTurns(p * 0.5).cos)));
  }
  return rate;
}

absl::StatusOr<double> LearningRateAt(const v1::TrainingSpec& training, uint64_t completed_steps) {
  ASSIGN_OR_RETURN(const LrSchedule schedule, LrSchedule::Create(training));
  return schedule.At(completed_steps);
}

absl::StatusOr<uint64_t> TotalSteps(const v1::TrainingSpec& training) {
  ASSIGN_OR_RETURN(const LrSchedule schedule, LrSchedule::Create(training));
  return schedule.total_steps();
}

}  // namespace neolog
