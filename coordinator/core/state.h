#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "neolog/v1/agent.pb.h"
#include "neolog/v1/journal.pb.h"
#include "neolog/v1/run.pb.h"

/// What the coordinator knows, as plain data. Decisions read it and return what is to be done with
/// a reason; only Apply (apply.h), which takes journal records, changes the durable part, so
/// replaying the journal gives it back.
namespace neolog::coordinator {

/// A worker's open stream. 0: none.
using LinkId = uint64_t;

/// A worker id with the incarnation it was under.
using Incarnation = std::pair<std::string, uint64_t>;
inline Incarnation IncarnationOf(const v1::WorkerIdentity& worker) {
  return {worker.worker_id(), worker.incarnation()};
}

/// One committed step, as StepRecord, without the step's number: entry i of a run is step i + 1.
struct CommittedStep {
  float loss = 0;
  float learning_rate = 0;
  float gradient_norm = 0;
  uint64_t state_hash = 0;
};

/// A run. Durable but for the last group of fields.
struct Run {
  std::string id;
  v1::RunSpec spec;
  std::string idempotency_key;
  std::string log_dir;
  uint64_t order = 0;  // counts submissions: the queue's order
  v1::RunState state = v1::RUN_STATE_QUEUED;
  std::string reason;
  v1::RunFailure failure;  // set while it is FAILED
  std::optional<v1::NumericProfile> profile;
  uint32_t workers = 0;  // wanted; 0 means all there are
  absl::Time submitted_at = absl::InfinitePast();
  absl::Time started_at = absl::InfinitePast();  // of the first commit
  absl::Time ended_at = absl::InfinitePast();    // while the state is an end
  std::vector<CommittedStep> steps;
  std::string state_digest;
  double smoothed_loss = 0;
  std::vector<v1::ArtifactReport> artifacts;
  std::string team_id;              // the team it was last assigned to
  bool in_team = false;             // false once it left that team
  bool last_is_checkpoint = false;  // the last commit's state is kept for good (retention.h)

  std::string committed_state;  // bytes of the state after the last committed step; read from the
                                // journal at start
  uint64_t leaving_step = 0;    // reported by a member: it left the pack there; 0 when not known
  std::string waiting;          // while QUEUED: why it is not placed yet
  // may not train it since they could not, and why; until it is resumed
  std::map<Incarnation, std::string> barred;
  std::deque<std::pair<SteadyTime, uint64_t>> rate_window;  // commits of the last seconds
  std::deque<absl::Duration> step_times;                    // of the last commits, a step

  uint64_t committed() const { return steps.size(); }
  uint64_t total() const { return spec.training().steps(); }
};

/// A team: durable but for the last group of fields.
struct Team {
  v1::Roster roster;
  std::vector<std::string> run_ids;  // as assigned with the current roster, in pack order
  v1::NumericProfile profile;

  std::set<std::string> done;      // members (by worker id) that have nothing left to do
  std::set<Incarnation> prepared;  // have shown that they can compute the pack
  // may not come back: their links broke too often, or they hung twice
  std::set<Incarnation> barred;
  // rosters made only because links between live members broke
  uint32_t rebuilds_without_commit = 0;
};

/// A doubt about a member that a peer could not reach.
struct Suspicion {
  std::string accuser;
  std::string message;
  SteadyTime decide_at;
  uint64_t heartbeats_before = 0;
};

/// A worker; nothing of it is durable except its place in rosters.
struct Worker {
  v1::WorkerIdentity identity;
  v1::Register info;
  LinkId link = 0;
  // its lease ran out, it said goodbye, or it was replaced: this incarnation is over
  bool lost = false;
  bool registered = false;  // false for a member read from the journal that has not come back yet
  std::string reason;       // why it is lost, or waits
  SteadyTime registered_at;
  SteadyTime last_heartbeat;
  SteadyTime lease_ends;
  uint64_t heartbeats = 0;
  v1::Heartbeat heartbeat;
  SteadyTime still_since;  // since when heartbeats have said the same
  std::string hung;        // set while it is taken for hung: why
  uint32_t hangs = 0;      // how often it was
  std::optional<Suspicion> suspicion;

  bool live() const { return !lost; }
};

/// Everything.
struct ClusterState {
  std::map<std::string, Run> runs;
  std::map<std::string, Team> teams;
  std::map<std::string, Worker> workers;                     // by worker id: its latest incarnation
  std::map<std::string, v1::LatentReport> latents;           // by key
  std::map<std::string, std::set<std::string>> run_latents;  // keys by run id
  uint64_t next_order = 1;
  uint64_t next_team = 1;
};

/// The team that `worker_id` is a member of under this incarnation, or null.
const Team* TeamOf(const ClusterState& state, const v1::WorkerIdentity& worker);

/// Whether a member list holds this identity.
bool IsMember(const v1::Roster& roster, const v1::WorkerIdentity& worker);

inline bool SameIdentity(const v1::WorkerIdentity& a, const v1::WorkerIdentity& b) {
  return a.incarnation() == b.incarnation() && a.worker_id() == b.worker_id();
}

/// Runs of the team that still train under it, in pack order.
std::vector<std::string> ActiveRuns(const ClusterState& state, const Team& team);

}  // namespace neolog::coordinator
