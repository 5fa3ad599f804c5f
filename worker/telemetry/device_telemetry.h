#pragma once

#include "neolog/v1/run.pb.h"

namespace neolog::telemetry {

/// What one device says of itself.
class DeviceTelemetry {
 public:
  virtual ~DeviceTelemetry() = default;
  /// Asks the device: milliseconds as a rule, and for ever where a driver hangs. What cannot be
  /// known stays unset; `error` says why when that is all. From one thread at a time.
  virtual v1::DeviceSample Sample() = 0;
};

}  // namespace neolog::telemetry
