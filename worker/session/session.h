#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/storage/blob_store.h"
#include "neolog/v1/agent.pb.h"
#include "worker/collective/collective.h"
#include "worker/session/trainer.h"
#include "worker/session/uplink.h"

namespace neolog::session {

/// Times and limits of a session.
struct SessionOptions {
  /// Commits are reported no more often than this, except where something waits for one.
  absl::Duration commit_interval = absl::Milliseconds(250);
  /// While waiting for the coordinator: how often what it has not answered is said again.
  absl::Duration retry_interval = absl::Milliseconds(500);
  /// Previews that wait for the coordinator.
  size_t max_artifact_bytes = size_t{256} << 20;
};

/// What a session works with; all must outlive it.
struct SessionDependencies {
  Trainer* trainer = nullptr;
  collective::CollectiveFactory* collectives = nullptr;
  Uplink* uplink = nullptr;
  BlobStore* blobs = nullptr;
  Clock* clock = nullptr;
};

/// Works on whatever the coordinator assigns, on a thread of its own, until it is destroyed.
///
///         Idle ◄────────────────── no runs, or not a member (the model stays loaded) ─────────┐
///          │ assignment                                                                       │
///          ▼                                                                                  │
///       Loading ──► Regrouping ──► Stepping ◄──► Encoding (a picture needed first)            │
///          │            │    ▲         │ │                                                    │
///          │            │    │ new     │ └──every run left──► Done ─────────── assignment ────┤
///          │            ▼    │ roster  ▼ peer lost, collective aborted                        │
///          │          Waiting (model, states and records stay) ───────────────────────────────┤
///          ▼                                                                                  │
///        Failed (reported; states stay) ──────────────────────────────────────────────────────┘
///
/// A new assignment interrupts whatever runs: the same pack under a new roster goes straight to
/// Regrouping, everything else to Loading, which keeps a model that is already loaded. In
/// Regrouping the ranks compare step and hash of every run, and those behind take state and
/// uncommitted records from the lowest rank that is furthest. Nothing in Stepping waits for the
/// coordinator. A picture is encoded when a step of this rank first needs it, and only when the
/// coordinator knows no posterior of it: that asks and waits for the coordinator, once a picture.
///
/// All methods may be called from any thread, return at once and never call back into the caller.
class Session {
 public:
  Session(const SessionOptions& options, const SessionDependencies& dependencies);
  /// Ends the work at once; uncommitted steps that were not reported are lost (and computed again
  /// elsewhere).
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// From the coordinator. `self` is the identity this worker has now.
  void OnAssignment(const v1::Assignment& assignment, const v1::WorkerIdentity& self);
  void OnControl(const v1::ControlRequest& control);
  void OnCommitted(const v1::Committed& committed);
  void OnLatent(const v1::LatentReport& latent);
  /// A report was refused: under a stale roster (a newer one is on its way) or as diverged (nothing
  /// in memory is trusted until the next assignment).
  void OnRefused(const v1::Refused& refused);
  /// The stream to the coordinator is registered (again), or broke.
  void OnConnection(bool connected);
  /// This worker's incarnation is over: whatever runs stops and waits for an assignment; model and
  /// states stay.
  void OnRevoked();

  /// Tries again to interrupt work that a new assignment waits for. The agent calls it with every
  /// heartbeat: an interruption may fall between two calls of the trainer.
  void Tick();

  /// What a heartbeat says.
  v1::Heartbeat Progress() const;
  /// The assignment in work, for a registration after a broken stream; empty team when idle.
  v1::AssignmentReport Held() const;
  /// Reports what can be reported, for a worker that leaves; waits at most `limit` for artifacts to
  /// be sent.
  void Flush(absl::Duration limit);

 private:
  class Core;
  const std::unique_ptr<Core> core_;
};

}  // namespace neolog::session
