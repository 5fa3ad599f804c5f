#pragma once

#include <memory>
#include <string>

#include "common/rpc/target.h"
#include "worker/collective/link.h"

namespace neolog::collective {

/// How a worker meets its peers.
struct PeerOptions {
  /// Where the worker's Peer service listens. Port 0 asks for a free one.
  Target listen;
  /// The largest part; a larger operation fails.
  int max_message_bytes = 256 << 20;
};

/// Links between worker processes: members send each other parts over gRPC streams, one stream per
/// ordered pair of members.
///
///   rank 0 ──Hello, Part 0, Part 1, …──► rank 1          rank 1 ──Hello, Part 0, …──► rank 0
///
/// A stream belongs to one roster: a member that is already on the next one waits parked until this
/// worker follows, a stale one is refused. When a process dies its streams break and every
/// operation that needs it is Unavailable at once; a stopped process only blocks, until the
/// coordinator's next roster aborts. Owns one server for the worker's whole life; any thread may
/// call Connect.
class PeerLinks : public LinkFactory {
 public:
  /// Starts the server. Unavailable when the address cannot be bound; FailedPrecondition beyond
  /// loopback.
  static absl::StatusOr<std::unique_ptr<PeerLinks>> Start(const PeerOptions& options);
  /// Ends every stream and the server. Links made by it may still be destroyed later, and are dead.
  ~PeerLinks() override;
  /// Where peers reach this worker, as a gRPC target with the port that was chosen.
  const std::string& address() const { return address_; }

  absl::StatusOr<std::unique_ptr<Link>> Connect(const v1::Roster& roster,
                                                const v1::WorkerIdentity& self) override;

 private:
  struct Server;
  PeerLinks(std::unique_ptr<Server> server, std::string address);

  const std::unique_ptr<Server> server_;
  const std::string address_;
};

}  // namespace neolog::collective
