#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/rpc/target.h"
#include "common/storage/blob_store.h"
#include "coordinator/runtime/runtime.h"

namespace neolog::coordinator {

/// Where and how the coordinator listens.
struct ServerSetup {
  std::vector<Target> targets;
  /// The largest blob taken.
  size_t max_blob_bytes = size_t{256} << 20;
  /// Called with the reason of a Shutdown request, on a gRPC thread; must not block.
  std::function<void(const std::string&)> on_shutdown;
};

/// The gRPC surface: Agent, Control, Status and Blob services, standard health and reflection.
class Server {
 public:
  /// Listens on every target, or on none. FailedPrecondition for addresses beyond loopback and
  /// socket folders open to others; AlreadyExists when a port or socket is in use. `runtime` and
  /// `blobs` must outlive it.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerSetup setup, Runtime& runtime,
                                                       BlobStore& blobs);
  /// As Stop.
  ~Server();

  /// The targets with the ports that were chosen.
  std::vector<std::string> addresses() const;
  /// Health turns to NOT_SERVING, no new calls are taken, open ones have `grace` to end before they
  /// are cancelled. Returns when every handler is done.
  void Stop(absl::Duration grace);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace neolog::coordinator
