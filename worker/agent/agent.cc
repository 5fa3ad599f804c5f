#include "worker/agent/agent.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/base/version.h"
#include "common/rpc/version_check.h"

namespace neolog::agent {

RefusalDecision DecideRefusal(const v1::Refused& refused, absl::Duration waited,
                              absl::Duration duplicate_patience) {
  using Kind = RefusalDecision::Kind;
  switch (refused.code()) {
    case v1::Refused::CODE_STALE_INCARNATION: return {Kind::kRenew, absl::OkStatus()};
    case v1::Refused::CODE_DUPLICATE_ID:
      if (waited < duplicate_patience) return {Kind::kRetry, absl::OkStatus()};
      return {Kind::kEnd, AlreadyExists(refused.message())};
    case v1::Refused::CODE_VERSION: return {Kind::kEnd, FailedPrecondition(refused.message())};
    default: return {Kind::kRetry, absl::OkStatus()};
  }
}

absl::Duration BackoffFor(int attempt, const AgentOptions& options) {
  return std::min(options.max_backoff, options.min_backoff * (int64_t{1} << std::min(attempt, 20)));
}

Agent::Agent(const AgentOptions& options, AgentConnector* connector, Clock* clock, Timers* timers)
    : options_(options), connector_(connector), clock_(clock), timers_(timers) {
  identity_.set_worker_id(options.worker_id);
  identity_.set_incarnation(options.draw_incarnation());
}

Agent::~Agent() = default;

v1::WorkerIdentity Agent::identity() const {
  MutexLock lock(mutex_);
  return identity_;
}

void Agent::Start(AgentListener* listener, std::function<void(const absl::Status&)> on_ended) {
  listener_ = listener;
  on_ended_ = std::move(on_ended);
  Connect();
}

void Agent::Connect() {
  uint64_t generation = 0;
  v1::WorkerMessage hello;
  *hello.mutable_register_() = options_.registration;
  hello.mutable_register_()->set_version(kVersion);
  const v1::AssignmentReport held = listener_->Held();
  if (!held.team_id().empty()) *hello.mutable_register_()->mutable_held() = held;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kIdle && state_ != State::kBackoff) return;
    state_ = State::kConnecting;
    generation = ++generation_;
    *hello.mutable_worker() = identity_;
  }
  std::shared_ptr<AgentStream> stream = connector_->Open(
      [this, generation](const v1::CoordinatorMessage& message) { OnMessage(generation, message); },
      [this, generation](const absl::Status& status) { OnClosed(generation, status); });
  stream->Write(std::move(hello));
  MutexLock lock(mutex_);
  if (generation == generation_) {
    stream_ = std::move(stream);
  } else {
    stream->Cancel();
  }
}

bool Agent::Send(v1::WorkerMessage message) {
  std::shared_ptr<AgentStream> stream;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kOnline) return false;
    *message.mutable_worker() = identity_;
    stream = stream_;
  }
  return stream != nullptr && stream->Write(std::move(message));
}

void Agent::OnMessage(uint64_t generation, const v1::CoordinatorMessage& message) {
  v1::WorkerIdentity self;
  bool connecting = false;
  {
    MutexLock lock(mutex_);
    if (generation != generation_ || state_ == State::kEnded || state_ == State::kLeaving) return;
    connecting = state_ == State::kConnecting;
    self = identity_;
  }
  switch (message.body_case()) {
    case v1::CoordinatorMessage::kRegistered: OnRegistered(message.registered()); break;
    case v1::CoordinatorMessage::kRefused:
      if (connecting || message.refused().code() == v1::Refused::CODE_STALE_INCARNATION) {
        OnRegistrationRefused(message.refused());
      } else {
        spdlog::warn("the coordinator refused a message: {}", message.refused().message());
        listener_->OnRefused(message.refused());
      }
      break;
    case v1::CoordinatorMessage::kAssignment:
      listener_->OnAssignment(message.assignment(), self);
      break;
    case v1::CoordinatorMessage::kControl: listener_->OnControl(message.control()); break;
    case v1::CoordinatorMessage::kCommitted: listener_->OnCommitted(message.committed()); break;
    case v1::CoordinatorMessage::kLatent: listener_->OnLatent(message.latent()); break;
    case v1::CoordinatorMessage::kShutdown:
      spdlog::info("the coordinator ends this worker: {}", message.shutdown().reason());
      End(absl::OkStatus());
      break;
    case v1::CoordinatorMessage::BODY_NOT_SET: break;  // of a newer minor version
  }
}

void Agent::OnRegistered(const v1::Registered& registered) {
  if (const absl::Status status = CheckVersion(kVersion, registered.version(), "the coordinator");
      !status.ok()) {
    End(status);
    return;
  }
  uint64_t generation = 0;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kConnecting) return;
    state_ = State::kOnline;
    attempt_ = 0;
    said_away_ = false;
    first_refusal_ = absl::ZeroDuration();
    heartbeat_interval_ = absl::Milliseconds(std::max(1U, registered.heartbeat_interval_ms()));
    generation = generation_;
  }
  spdlog::info("registered with the coordinator");
  listener_->OnConnection(true);
  Beat(generation);
}

void Agent::OnRegistrationRefused(const v1::Refused& refused) {
  const SteadyTime now = clock_->SteadyNow();
  RefusalDecision decision;
  std::shared_ptr<AgentStream> stream;
  {
    MutexLock lock(mutex_);
    if (first_refusal_ == absl::ZeroDuration()) first_refusal_ = now;
    decision = DecideRefusal(refused, now - first_refusal_, options_.duplicate_patience);
    stream = stream_;
    if (decision.kind == RefusalDecision::Kind::kRenew) {
      identity_.set_incarnation(options_.draw_incarnation());
      at_once_ = true;
    }
  }
  switch (decision.kind) {
    case RefusalDecision::Kind::kRenew:
      spdlog::warn("this worker's incarnation is over ({}); it registers anew and keeps its model",
                   refused.message());
      listener_->OnRevoked();
      break;
    case RefusalDecision::Kind::kRetry:
      spdlog::warn("the coordinator refused the registration: {}", refused.message());
      break;
    case RefusalDecision::Kind::kEnd: End(decision.error); return;
  }
  if (stream != nullptr) stream->Cancel();  // OnClosed goes on
}

void Agent::OnClosed(uint64_t generation, const absl::Status& status) {
  absl::Duration pause;
  bool was_online = false;
  bool left = false;
  {
    MutexLock lock(mutex_);
    if (generation != generation_ || state_ == State::kEnded) return;
    left = state_ == State::kLeaving;
    was_online = state_ == State::kOnline;
    stream_.reset();
    if (!left) {
      state_ = State::kBackoff;
      pause = at_once_ ? absl::ZeroDuration() : BackoffFor(attempt_++, options_);
      at_once_ = false;
      if (!said_away_) {
        said_away_ = true;
        spdlog::warn("no connection to the coordinator ({}); work goes on, trying again",
                     ToStd(status.message()));
      }
    }
  }
  if (left) {
    End(absl::OkStatus());
    return;
  }
  if (was_online) listener_->OnConnection(false);
  MutexLock lock(mutex_);
  if (state_ == State::kBackoff) timers_->RunAfter(pause, [this] { Connect(); });
}

void Agent::Beat(uint64_t generation) {
  absl::Duration interval;
  {
    MutexLock lock(mutex_);
    if (generation != generation_ || state_ != State::kOnline) return;
    interval = heartbeat_interval_;
  }
  listener_->Tick();
  v1::WorkerMessage message;
  *message.mutable_heartbeat() = listener_->Progress();
  if (options_.device_sample) {
    if (auto sample = options_.device_sample(); sample.has_value())
      *message.mutable_heartbeat()->mutable_device_sample() = *std::move(sample);
  }
  Send(std::move(message));
  MutexLock lock(mutex_);
  if (generation == generation_ && state_ == State::kOnline) {
    timers_->RunAfter(interval, [this, generation] { Beat(generation); });
  }
}

void Agent::Leave(const std::string& reason) {
  v1::WorkerMessage goodbye;
  goodbye.mutable_goodbye()->set_reason(reason);
  const bool online = Send(std::move(goodbye));
  std::shared_ptr<AgentStream> stream;
  {
    MutexLock lock(mutex_);
    if (state_ == State::kEnded || state_ == State::kLeaving) return;
    if (online) state_ = State::kLeaving;
    stream = stream_;
  }
  if (!online || stream == nullptr) {
    End(absl::OkStatus());
    return;
  }
  stream->Finish();  // OnClosed ends the agent
}

void Agent::End(const absl::Status& status) {
  std::shared_ptr<AgentStream> stream;
  {
    MutexLock lock(mutex_);
    if (state_ == State::kEnded) return;
    state_ = State::kEnded;
    stream.swap(stream_);
  }
  if (stream != nullptr) stream->Cancel();
  if (on_ended_) on_ended_(status);
}

}  // namespace neolog::agent
