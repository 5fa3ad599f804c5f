#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/status.h"
#include "coordinator/cli/console.h"
#include "neolog/v1/control.pb.h"
#include "neolog/v1/status.pb.h"

namespace neolog::cli {

/// What -o takes.
enum class OutputFormat { kTable, kWide, kJson, kYaml, kName };

/// The protobuf JSON of a message: lowerCamelCase names, every field, RFC 3339 UTC times, indented,
/// with a final newline.
std::string ToJson(const google::protobuf::Message& message);

/// The same as YAML.
std::string ToYaml(const google::protobuf::Message& message);

/// A table: columns as wide as their widest cell, two spaces between them, no trailing blanks. The
/// first row is the header.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

/// How tables are drawn.
struct TableStyle {
  bool wide = false;
  bool headers = true;
  /// For ages.
  absl::Time now;
};

/// NAME RUN STATE STEP LOSS RATE ETA WORKERS AGE REASON; wide adds ROSTER, LR, LOG_DIR.
std::string RunsTable(const google::protobuf::RepeatedPtrField<v1::RunInfo>& runs,
                      const TableStyle& style);

/// "87 %, 21.3 of 80.0 GB, 64 C, 310 W, slowed by heat, Xid 79": what is known; "-" when nothing
/// is.
std::string DeviceText(const v1::DeviceSample& sample);

/// WORKER STATE RUN STEP HEARTBEAT REASON, with GPU where one says something; wide adds HOST, PID,
/// DEVICE, THREADS, ADDRESS.
std::string WorkersTable(const google::protobuf::RepeatedPtrField<v1::WorkerInfo>& workers,
                         const TableStyle& style);

/// A whole status reply in the format asked for.
std::string FormatStatus(const v1::GetStatusResponse& status, OutputFormat format,
                         const TableStyle& style);

/// A list of runs in the format asked for.
std::string FormatRuns(const v1::ListRunsResponse& runs, OutputFormat format,
                       const TableStyle& style);

}  // namespace neolog::cli
