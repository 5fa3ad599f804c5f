#include "coordinator/cli/output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "coordinator/cli/exit_code.h"
#include "coordinator/cli/progress.h"

namespace neolog::cli {
namespace {

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

void EmitYaml(YAML::Emitter& out, const nlohmann::ordered_json& json) {
  if (json.is_object()) {
    out << (json.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      out << YAML::Key << key << YAML::Value;
      EmitYaml(out, value);
    }
    out << YAML::EndMap;
  } else if (json.is_array()) {
    out << (json.empty() ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const auto& value : json) EmitYaml(out, value);
    out << YAML::EndSeq;
  } else if (json.is_string()) {
    // Quoted: "no" and "010" are words here, not a truth value and a number.
    out << YAML::DoubleQuoted << json.get<std::string>();
  } else {
    out << json.dump();
  }
}

/// Display columns of UTF-8 text, counting code points: names and reasons hold no wide characters.
size_t Columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

std::string Age(const google::protobuf::Timestamp& since, absl::Time now) {
  if (since.seconds() == 0) return "-";
  return FormatDuration(std::max(0.0, absl::ToDoubleSeconds(now - TimeOf(since))));
}

std::string Dash(std::string text) { return text.empty() ? "-" : text; }

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return "{}\n";  // only for messages with unset Any fields, which ours have not
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

std::string ToYaml(const google::protobuf::Message& message) {
  YAML::Emitter out;
  EmitYaml(out, nlohmann::ordered_json::parse(ToJson(message)));
  return std::string(out.c_str()) + "\n";
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  std::string table;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - Columns(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  return table;
}

std::string RunsTable(const google::protobuf::RepeatedPtrField<v1::RunInfo>& runs,
                      const TableStyle& style) {
  std::vector<std::vector<std::string>> rows;
  if (style.headers) {
    rows.push_back({"NAME", "RUN", "STATE", "STEP", "LOSS", "RATE", "ETA", "WORKERS", "AGE"});
    if (style.wide) rows.back().insert(rows.back().end(), {"ROSTER", "LR", "LOG_DIR"});
    rows.back().push_back("REASON");
  }
  for (const v1::RunInfo& run : runs) {
    const bool running = run.state() == v1::RUN_STATE_RUNNING && run.step() > 0;
    std::vector<std::string> row = {
        run.spec().name(),
        run.run_id(),
        StateName(run.state()),
        fmt::format("{}/{}", run.step(), run.total_steps()),
        run.step() > 0 ? fmt::format("{:.4f}", run.smoothed_loss()) : "-",
        running ? FormatRate(run.steps_per_second()) : "-",
        running ? FormatDuration(run.eta_seconds()) : "-",
        std::to_string(run.roster().members_size()),
        Age(run.submitted_at(), style.now)};
    if (style.wide) {
      row.push_back(run.roster().version() > 0 ? fmt::format("v{}", run.roster().version()) : "-");
      row.push_back(run.step() > 0 ? fmt::format("{:.3g}", run.learning_rate()) : "-");
      row.push_back(Dash(run.log_dir()));
    }
    row.push_back(run.has_failure() ? run.failure().message() : run.reason());
    rows.push_back(std::move(row));
  }
  return FormatTable(rows);
}

std::string DeviceText(const v1::DeviceSample& sample) {
  std::vector<std::string> parts;
  if (sample.has_utilization_percent())
    parts.push_back(fmt::format("{} %", sample.utilization_percent()));
  if (sample.has_memory_used_bytes()) {
    parts.push_back(fmt::format("{:.1f} of {:.1f} GB",
                                static_cast<double>(sample.memory_used_bytes()) / 1e9,
                                static_cast<double>(sample.memory_total_bytes()) / 1e9));
  }
  if (sample.has_temperature_celsius())
    parts.push_back(fmt::format("{} C", sample.temperature_celsius()));
  if (sample.has_power_watts()) parts.push_back(fmt::format("{:.0f} W", sample.power_watts()));
  if (!sample.throttling().empty())
    parts.push_back(fmt::format("slowed by {}", fmt::join(sample.throttling(), " and ")));
  if (sample.ecc_errors() > 0)
    parts.push_back(fmt::format("{} memory errors", sample.ecc_errors()));
  if (sample.last_xid() > 0) parts.push_back(fmt::format("Xid {}", sample.last_xid()));
  if (!sample.error().empty()) parts.push_back(sample.error());
  return Dash(fmt::format("{}", fmt::join(parts, ", ")));
}

std::string WorkersTable(const google::protobuf::RepeatedPtrField<v1::WorkerInfo>& workers,
                         const TableStyle& style) {
  const bool gpus = std::any_of(workers.begin(), workers.end(), [](const v1::WorkerInfo& worker) {
    return worker.has_device_sample();
  });
  std::vector<std::vector<std::string>> rows;
  if (style.headers) {
    rows.push_back({"WORKER", "STATE", "RUN", "STEP", "HEARTBEAT"});
    if (gpus) rows.back().push_back("GPU");
    if (style.wide)
      rows.back().insert(rows.back().end(), {"HOST", "PID", "DEVICE", "THREADS", "ADDRESS"});
    rows.back().push_back("REASON");
  }
  for (const v1::WorkerInfo& worker : workers) {
    std::vector<std::string> row = {worker.worker().worker_id(), worker.state(),
                                    Dash(worker.run_id()),
                                    worker.run_id().empty() ? "-" : std::to_string(worker.step()),
                                    fmt::format("{:.1f}s ago", worker.heartbeat_age_seconds())};
    if (gpus) row.push_back(DeviceText(worker.device_sample()));
    if (style.wide) {
      row.insert(
          row.end(),
          {worker.host(), std::to_string(worker.process_id()), worker.capabilities().device(),
           std::to_string(worker.capabilities().threads()), Dash(worker.peer_address())});
    }
    row.push_back(worker.reason());
    rows.push_back(std::move(row));
  }
  return FormatTable(rows);
}

std::string FormatStatus(const v1::GetStatusResponse& status, OutputFormat format,
                         const TableStyle& style) {
  switch (format) {
    case OutputFormat::kJson: return ToJson(status);
    case OutputFormat::kYaml: return ToYaml(status);
    case OutputFormat::kName: {
      std::string names;
      for (const auto& run : status.runs()) names += "run/" + run.run_id() + "\n";
      for (const auto& worker : status.workers())
        names += "worker/" + worker.worker().worker_id() + "\n";
      return names;
    }
    case OutputFormat::kTable:
    case OutputFormat::kWide: break;
  }
  std::string text =
      fmt::format("coordinator {}, up {}\n", status.version(), Age(status.started_at(), style.now));
  text += "\n" + (status.runs().empty() ? "No runs.\n" : RunsTable(status.runs(), style));
  text +=
      "\n" + (status.workers().empty() ? "No workers.\n" : WorkersTable(status.workers(), style));
  return text;
}

std::string FormatRuns(const v1::ListRunsResponse& runs, OutputFormat format,
                       const TableStyle& style) {
  switch (format) {
    case OutputFormat::kJson: return ToJson(runs);
    case OutputFormat::kYaml: return ToYaml(runs);
    case OutputFormat::kName: {
      std::string names;
      for (const auto& run : runs.runs()) names += "run/" + run.run_id() + "\n";
      return names;
    }
    case OutputFormat::kTable:
    case OutputFormat::kWide: break;
  }
  return runs.runs().empty() ? "No runs.\n" : RunsTable(runs.runs(), style);
}

}  // namespace neolog::cli
