#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/status.h"
#include "common/storage/blob_store.h"
#include "neolog/v1/control.pb.h"
#include "neolog/v1/status.pb.h"

namespace neolog::cli {

/// Events as they come. Next blocks on one thread; Cancel may be called from another.
class EventStream {
 public:
  virtual ~EventStream() = default;
  /// The next event. Unavailable when the stream broke; Cancelled after Cancel.
  virtual absl::StatusOr<v1::WatchEventsResponse> Next() = 0;
  /// Makes a waiting and every later Next return Cancelled.
  virtual void Cancel() = 0;
};

/// The coordinator as commands see it: its services, without the transport. Calls block, end with
/// Unavailable when the coordinator cannot be reached in time, and may come from any thread.
/// Messages of errors name the coordinator.
class Client {
 public:
  virtual ~Client() = default;
  virtual absl::StatusOr<v1::RunInfo> SubmitRun(const v1::SubmitRunRequest& request) = 0;
  virtual absl::StatusOr<v1::RunInfo> StopRun(const std::string& run) = 0;
  virtual absl::StatusOr<v1::RunInfo> PauseRun(const std::string& run) = 0;
  virtual absl::StatusOr<v1::RunInfo> ResumeRun(const v1::ResumeRunRequest& request) = 0;
  virtual absl::StatusOr<v1::RunInfo> GetRun(const std::string& run) = 0;
  virtual absl::StatusOr<v1::ListRunsResponse> ListRuns() = 0;
  virtual absl::StatusOr<v1::GetStepsResponse> GetSteps(const v1::GetStepsRequest& request) = 0;
  virtual absl::StatusOr<v1::GetStatusResponse> GetStatus() = 0;
  /// Never null; errors come out of Next.
  virtual std::unique_ptr<EventStream> WatchEvents(const v1::WatchEventsRequest& request) = 0;
  virtual BlobStore& blobs() = 0;
  /// Waits until there is a connection to the coordinator. False when there is none within
  /// `timeout`.
  virtual bool WaitForConnection(absl::Duration timeout) = 0;
};

/// A client of the coordinator at `target`; connects when first used. InvalidArgument for a
/// malformed target. `timeout` bounds every unary call, waiting for the connection included.
absl::StatusOr<std::unique_ptr<Client>> MakeGrpcClient(const std::string& target,
                                                       absl::Duration timeout = absl::Seconds(10));

/// Asks the coordinator for its version and refuses another major.minor with FailedPrecondition.
/// Unavailable after `timeout`, trying again until then: a coordinator that was just started takes
/// a moment.
absl::Status WaitForCoordinator(Client& client, absl::Duration timeout);

}  // namespace neolog::cli
