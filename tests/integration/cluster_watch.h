#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "neolog/v1/control.grpc.pb.h"
#include "neolog/v1/status.grpc.pb.h"

namespace neolog::testing {

/// A coordinator as a test watches it. Waiting is driven by the coordinator's stream of events: a
/// condition is looked at when something happened and at no other time. A coordinator that is away
/// is waited for. One thread.
class ClusterWatch {
 public:
  /// Of the coordinator at this gRPC target, which need not listen yet; no Wait lasts longer than
  /// `patience`. Throws std::runtime_error when the target is malformed.
  ClusterWatch(const std::string& target, absl::Duration patience);

  /// The whole picture; an empty one when the coordinator does not answer for ten seconds.
  v1::GetStatusResponse Status();
  /// The run with this id or name; an info without id when there is none or the coordinator does
  /// not answer. `state`, when given, gets the serialised TrainState after its last committed step.
  v1::RunInfo Run(const std::string& run, std::string* state = nullptr);
  /// Committed steps of a run.
  uint64_t StepOf(const std::string& run) { return Run(run).step(); }

  /// Waits until the condition holds, looking once when the coordinator answers and again after
  /// every event; false when it never holds. The condition must depend on nothing but the
  /// coordinator.
  bool Wait(const std::function<bool()>& condition);
  bool WaitStep(const std::string& run, uint64_t step);
  /// Waits until steps that were taken after this call are certainly committed: two commits. The
  /// first may say steps from before it; the second, up to 250 ms later, is of new ones. So the
  /// time this takes is an upper bound.
  bool WaitForNewSteps(const std::string& run);
  /// The same for the survivors of a roster: first a later one is there.
  bool WaitUntilTheyStepAgain(const std::string& run, const v1::Roster& before);

  /// For calls of the test's own: the channel, and a context's ten seconds to wait for the
  /// coordinator.
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::ControlService::Stub& control() { return *control_; }
  static void Prepare(grpc::ClientContext& context);

 private:
  const absl::Duration patience_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::ControlService::Stub> control_;
  const std::unique_ptr<v1::StatusService::Stub> status_;
};

}  // namespace neolog::testing
