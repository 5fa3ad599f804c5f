#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/status.h"

/// How `neolog` talks to the supervisor of the local cluster: over a Unix socket, one JSON object a
/// line each way, a reply for every request, in order. While a connection is open its client counts
/// as attached.
namespace neolog::cli {

/// What is asked.
struct SupervisorRequest {
  enum class Op {
    /// Nothing but the reply.
    kInfo,
    /// At least one worker with these threads for each of the devices.
    kEnsure,
    /// Stay until told to leave, even when no run is left.
    kKeep,
    /// Stop the children and leave. The connection closes when that is done.
    kDown,
  };
  Op op = Op::kInfo;
  /// One entry a worker: "cpu", or "cuda:N", which has no second one.
  std::vector<std::string> devices;
  uint32_t threads = 1;
};

/// One child as the supervisor knows it.
struct ChildInfo {
  /// "coordinator", or the worker's id.
  std::string name;
  /// 0 while it waits to be started again.
  int64_t pid = 0;
  uint32_t threads = 0;
  std::string device;
  /// How often it was started again after a death.
  uint32_t restarts = 0;
  /// How it last ended; empty when it never did.
  std::string last_exit;
  std::string log;
};

/// The reply to every request.
struct SupervisorReply {
  /// Empty: done. Otherwise why not.
  std::string error;
  std::string version;
  int64_t pid = 0;
  /// The coordinator's gRPC target.
  std::string target;
  /// Whether it leaves when no run and no client is left.
  bool on_demand = false;
  /// The coordinator first, then the workers.
  std::vector<ChildInfo> children;
};

/// One line without its end; parsing refuses what it does not know with InvalidArgument.
std::string Encode(const SupervisorRequest& request);
std::string Encode(const SupervisorReply& reply);
absl::StatusOr<SupervisorRequest> DecodeRequest(std::string_view line);
absl::StatusOr<SupervisorReply> DecodeReply(std::string_view line);

/// A client's end of the connection. Not for use from several threads at once.
class SupervisorConnection {
 public:
  /// NotFound when no supervisor listens there.
  static absl::StatusOr<std::unique_ptr<SupervisorConnection>> Connect(
      const std::string& socket_path);
  ~SupervisorConnection();
  SupervisorConnection(const SupervisorConnection&) = delete;
  SupervisorConnection& operator=(const SupervisorConnection&) = delete;

  /// Sends a request and waits for its reply. Unavailable when the supervisor went away or does not
  /// answer in time; Internal with its words when it could not do what was asked.
  absl::StatusOr<SupervisorReply> Call(const SupervisorRequest& request,
                                       absl::Duration timeout = absl::Seconds(30));

  /// Waits until the supervisor closed the connection. DeadlineExceeded when it did not.
  absl::Status WaitClosed(absl::Duration timeout);

 private:
  explicit SupervisorConnection(int fd) : fd_(fd) {}
  int fd_;
  std::string received_;
};

}  // namespace neolog::cli
