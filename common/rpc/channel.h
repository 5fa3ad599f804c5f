#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/status.h"
#include "common/rpc/target.h"

namespace neolog {

/// The largest message either side takes: a commit of a long outage with its states, a list of all
/// runs.
inline constexpr int kMaxMessageBytes = 64 << 20;
/// Bytes of one chunk of a blob on the wire.
inline constexpr size_t kBlobChunkBytes = 1 << 20;

/// Files of a TLS identity. This version has no TLS: any file named here is refused as
/// Unimplemented, so that nobody takes a plain connection for an encrypted one.
struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;
  bool any() const { return !ca.empty() || !certificate.empty() || !key.empty(); }
};

/// How a client connects.
struct ChannelOptions {
  TlsFiles tls;
  /// Largest message taken or sent.
  int max_message_bytes = kMaxMessageBytes;
  /// A connection of its own instead of one shared with other channels to the same address, so that
  /// an earlier failure's back-off is not inherited.
  bool own_connection = false;
  /// The longest pause between attempts to connect.
  absl::Duration max_reconnect_backoff = absl::Seconds(1);
  /// How long one attempt to connect may take: a busy machine or a far host answers late.
  absl::Duration connect_timeout = absl::Seconds(5);
};

/// A channel to `target`; it connects when first used. InvalidArgument for a malformed target;
/// FailedPrecondition for an address beyond loopback, Unimplemented when TLS files are named: see
/// TlsFiles.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& target,
                                                           const ChannelOptions& options = {});

/// How a server listens.
struct ServerOptions {
  TlsFiles tls;
  int max_message_bytes = kMaxMessageBytes;
};

/// Gives `builder` our limits and one listening port per target. After BuildAndStart, `(*ports)[i]`
/// is the TCP port of targets[i] (1 for a Unix socket) or 0 when it could not be bound; `ports` may
/// be null, else it must live until then. Closed by default: FailedPrecondition for an address
/// beyond loopback, Unimplemented when TLS files are named.
absl::Status ConfigureServer(const std::vector<Target>& targets, const ServerOptions& options,
                             grpc::ServerBuilder& builder, std::vector<int>* ports);

}  // namespace neolog
