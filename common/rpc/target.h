#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace neolog {

/// Where a gRPC server listens or is reached: a Unix socket or a TCP address.
struct Target {
  /// Path of the Unix socket; empty for TCP.
  std::string path;
  /// Host name or address without brackets; empty for Unix sockets.
  std::string host;
  /// TCP port; 0 asks the system for a free one when listening.
  uint16_t port = 0;

  bool is_unix() const { return !path.empty(); }
  /// As gRPC and our flags write it: "unix:/run/x.sock", "127.0.0.1:7000", "[::1]:7000".
  std::string ToString() const;
};

/// Reads "unix:PATH", "unix:///PATH", "HOST:PORT" or "[IPv6]:PORT". InvalidArgument names what is
/// wrong and shows an example; a path that does not fit the system's socket addresses (107 bytes)
/// is refused here, by name.
absl::StatusOr<Target> ParseTarget(std::string_view text);

/// True when only this machine can reach it: Unix sockets, 127.0.0.0/8, ::1 and "localhost". A host
/// name other than localhost counts as beyond loopback, whatever it resolves to.
bool IsLoopback(const Target& target);

}  // namespace neolog
