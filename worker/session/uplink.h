#pragma once

#include "neolog/v1/agent.pb.h"

namespace neolog::session {

/// The way to the coordinator. Any thread; never blocks on the network.
class Uplink {
 public:
  virtual ~Uplink() = default;
  /// Sends one message; the implementation fills in who sends it. False when there is no registered
  /// stream: then the message is dropped, and the session says it again after OnConnection(true).
  /// True promises no delivery either: whatever matters is repeated until the coordinator's answer
  /// makes it unnecessary.
  virtual bool Send(v1::WorkerMessage message) = 0;
};

}  // namespace neolog::session
