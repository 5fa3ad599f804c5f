#include "tests/integration/cluster_watch.h"

#include <chrono>
#include <stdexcept>

#include "common/rpc/channel.h"

namespace neolog::testing {
namespace {

using WallTime = std::chrono::system_clock::time_point;

WallTime In(absl::Duration time) {
  return std::chrono::system_clock::now() + absl::ToChronoMilliseconds(time);
}

/// The call waits for a coordinator that is away, but no longer than until the deadline.
void PrepareUntil(grpc::ClientContext& context, WallTime deadline) {
  context.set_wait_for_ready(true);
  context.set_deadline(deadline);
}

std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  auto channel = MakeChannel(
      target, {.own_connection = true, .max_reconnect_backoff = absl::Milliseconds(100)});
  if (!channel.ok()) throw std::runtime_error(channel.status().ToString());
  return *std::move(channel);
}

constexpr absl::Duration kCallTimeout = absl::Seconds(10);

}  // namespace

ClusterWatch::ClusterWatch(const std::string& target, absl::Duration patience)
    : patience_(patience),
      channel_(Connect(target)),
      control_(v1::ControlService::NewStub(channel_)),
      status_(v1::StatusService::NewStub(channel_)) {}

void ClusterWatch::Prepare(grpc::ClientContext& context) {
  PrepareUntil(context, In(kCallTimeout));
}

v1::GetStatusResponse ClusterWatch::Status() {
  grpc::ClientContext context;
  Prepare(context);
  v1::GetStatusResponse response;
  if (!status_->GetStatus(&context, v1::GetStatusRequest(), &response).ok()) return {};
  return response;
}

v1::RunInfo ClusterWatch::Run(const std::string& run, std::string* state) {
  grpc::ClientContext context;
  Prepare(context);
  v1::GetRunRequest request;
  request.set_run_id(run);
  v1::GetRunResponse response;
  if (!control_->GetRun(&context, request, &response).ok()) return {};
  if (state != nullptr) *state = response.state();
  return response.run();
}

bool ClusterWatch::Wait(const std::function<bool()>& condition) {
  const WallTime deadline = In(patience_);
  while (std::chrono::system_clock::now() < deadline) {
    grpc::ClientContext context;
    PrepareUntil(context, deadline);
    const auto events = status_->WatchEvents(&context, v1::WatchEventsRequest());
    // The first event is the whole picture, so nothing that happens from here on is missed.
    for (v1::WatchEventsResponse event; events->Read(&event);) {
      if (!condition()) continue;
      context.TryCancel();
      while (events->Read(&event)) {
      }
      events->Finish();
      return true;
    }
    const grpc::Status end = events->Finish();
    // Anything but a coordinator that died or left is no reason to try again.
    if (!end.ok() && end.error_code() != grpc::StatusCode::UNAVAILABLE) return false;
  }
  return false;
}

bool ClusterWatch::WaitStep(const std::string& run, uint64_t step) {
  return Wait([&] { return StepOf(run) >= step; });
}

bool ClusterWatch::WaitForNewSteps(const std::string& run) {
  const auto advance = [&] {
    const uint64_t seen = StepOf(run);
    return Wait([&] { return StepOf(run) > seen; });
  };
  return advance() && advance();
}

bool ClusterWatch::WaitUntilTheyStepAgain(const std::string& run, const v1::Roster& before) {
  return Wait([&] {
           const v1::Roster now = Run(run).roster();
           return !now.members().empty() &&
                  (now.team_id() != before.team_id() || now.version() > before.version());
         }) &&
         WaitForNewSteps(run);
}

}  // namespace neolog::testing
