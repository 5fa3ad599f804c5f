#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "neolog/v1/agent.pb.h"
#include "worker/agent/transport.h"
#include "worker/session/uplink.h"

namespace neolog::agent {

/// Whom the agent passes things on to: the session (see session_listener.h). Methods return at
/// once.
class AgentListener {
 public:
  virtual ~AgentListener() = default;
  virtual void OnAssignment(const v1::Assignment& assignment, const v1::WorkerIdentity& self) = 0;
  virtual void OnControl(const v1::ControlRequest& control) = 0;
  virtual void OnCommitted(const v1::Committed& committed) = 0;
  virtual void OnLatent(const v1::LatentReport& latent) = 0;
  virtual void OnRefused(const v1::Refused& refused) = 0;
  virtual void OnConnection(bool connected) = 0;
  virtual void OnRevoked() = 0;
  /// With every heartbeat.
  virtual void Tick() = 0;
  virtual v1::Heartbeat Progress() const = 0;
  virtual v1::AssignmentReport Held() const = 0;
};

/// Who the agent is and how patient.
struct AgentOptions {
  /// The worker's stable id.
  std::string worker_id;
  /// What it says when it registers: version, host, process, capabilities, peer address. `held` is
  /// filled in.
  v1::Register registration;
  /// The pause before the first attempt to reconnect; it doubles up to max_backoff.
  absl::Duration min_backoff = absl::Milliseconds(50);
  absl::Duration max_backoff = absl::Seconds(1);
  /// How long another live worker with this id is waited out: a predecessor's lease takes its time
  /// to end.
  absl::Duration duplicate_patience = absl::Seconds(15);
  /// What the device last said, for heartbeats; returns at once. May be empty.
  std::function<std::optional<v1::DeviceSample>()> device_sample;
  /// Draws incarnations.
  std::function<uint64_t()> draw_incarnation;
};

/// What the agent does after a refusal of its registration.
struct RefusalDecision {
  enum class Kind { kRenew, kRetry, kEnd };
  Kind kind = Kind::kEnd;
  /// With kEnd: the error the program ends with.
  absl::Status error;
};
/// `waited`: since the first refusal of this kind in a row. Pure.
RefusalDecision DecideRefusal(const v1::Refused& refused, absl::Duration waited,
                              absl::Duration duplicate_patience);

/// The pause before attempt `attempt` (from 0) to reconnect. Pure.
absl::Duration BackoffFor(int attempt, const AgentOptions& options);

/// One worker's connection to its coordinator.
///
///   Start ─► Connecting ──Registered──► Online ──closed──► Backoff ──timer──► Connecting
///               │   ▲                     │                   ▲
///               │   └── STALE_INCARNATION: a new one is drawn, the model stays loaded
///               │ DUPLICATE_ID ───────────────────────────────┘ until duplicate_patience, then
///               │                                               Ended(AlreadyExists)
///               └ VERSION ─► Ended(FailedPrecondition)
///   Shutdown from the coordinator ─► Ended(OK)          Leave ─► Goodbye, half-close ─► Ended(OK)
///
/// A broken stream changes nothing for the session except that its words are not heard: the
/// incarnation stays until the coordinator says that it is over. Any thread.
class Agent : public session::Uplink {
 public:
  /// When the agent is destroyed, it must have ended, and neither the connector nor the timers may
  /// call it any more: end them first.
  Agent(const AgentOptions& options, AgentConnector* connector, Clock* clock, Timers* timers);
  ~Agent() override;

  /// Connects, and keeps connecting. `on_ended` is called once, from any thread, when the agent has
  /// ended.
  void Start(AgentListener* listener, std::function<void(const absl::Status&)> on_ended);
  /// Says goodbye and ends.
  void Leave(const std::string& reason);
  /// False unless registered.
  bool Send(v1::WorkerMessage message) override;

  v1::WorkerIdentity identity() const;

 private:
  enum class State { kIdle, kConnecting, kOnline, kBackoff, kLeaving, kEnded };

  void Connect();
  void OnMessage(uint64_t generation, const v1::CoordinatorMessage& message);
  void OnClosed(uint64_t generation, const absl::Status& status);
  void OnRegistered(const v1::Registered& registered);
  void OnRegistrationRefused(const v1::Refused& refused);
  void Beat(uint64_t generation);
  void End(const absl::Status& status);

  const AgentOptions options_;
  AgentConnector* const connector_;
  Clock* const clock_;
  Timers* const timers_;
  AgentListener* listener_ = nullptr;  // set by Start
  std::function<void(const absl::Status&)> on_ended_;

  mutable Mutex mutex_;
  State state_ GUARDED_BY(mutex_) = State::kIdle;
  v1::WorkerIdentity identity_ GUARDED_BY(mutex_);
  // of the stream; callbacks of older ones are ignored
  uint64_t generation_ GUARDED_BY(mutex_) = 0;
  std::shared_ptr<AgentStream> stream_ GUARDED_BY(mutex_);
  int attempt_ GUARDED_BY(mutex_) = 0;
  bool at_once_ GUARDED_BY(mutex_) = false;  // reconnect without a pause
  bool said_away_ GUARDED_BY(mutex_) = false;
  absl::Duration heartbeat_interval_ GUARDED_BY(mutex_) = absl::Milliseconds(250);
  SteadyTime first_refusal_ GUARDED_BY(mutex_) = absl::ZeroDuration();
};

}  // namespace neolog::agent
