#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/core/engine.h"
#include "neolog/v1/agent.pb.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::coordinator::testing {

/// A spec that is accepted: `steps` steps, one vector of width 4, one picture.
v1::RunSpec MakeSpec(const std::string& name = "zesko", uint32_t steps = 100, uint32_t workers = 0);

/// A state after `step`, as bytes; `flavour` makes another one.
std::string MakeState(uint64_t step, int flavour = 0);

/// A report of steps [first, last] with the state after the last.
v1::CommitReport MakeCommit(const std::string& team_id, uint64_t roster_version,
                            const std::string& run_id, uint64_t first, uint64_t last,
                            int flavour = 0);

/// An identity.
v1::WorkerIdentity MakeIdentity(const std::string& id, uint64_t incarnation = 1);

/// A registration of this version, on a CPU with one thread.
v1::Register MakeRegister(uint32_t threads = 1, const std::string& instruction_set = "AVX512");

/// An engine with a clock of its own and one line to every worker. Effects are gathered as they
/// would be sent, and their batches kept as a journal, from which Restart makes a new engine.
class Cluster {
 public:
  explicit Cluster(CoreOptions options = {});

  /// Moves the clock and lets the engine look, every 10 ms.
  void Advance(absl::Duration by);
  /// Opens a stream for a worker and registers it; messages of the answer are in `inbox(id)`.
  LinkId Join(const std::string& id, uint64_t incarnation = 1, v1::Register info = MakeRegister());
  /// Closes the worker's stream.
  void Hangup(const std::string& id);
  /// Says something on the worker's stream, as its current incarnation.
  void Say(const std::string& id, v1::WorkerMessage message);
  void Heartbeat(const std::string& id, const std::string& phase = "stepping");
  void Heartbeat(const std::string& id, const std::string& phase, uint64_t progress,
                 v1::Heartbeat::WaitsFor waits_for = v1::Heartbeat::WAITS_FOR_NOTHING);
  void Commit(const std::string& id, const std::string& run_id, uint64_t first, uint64_t last,
              int flavour = 0);
  /// AssignmentReport of the worker about its team; `run_id` may be empty.
  void Report(const std::string& id, const std::string& phase, const std::string& run_id = "",
              std::vector<uint64_t> steps = {}, v1::RunFailure failure = {});
  void Complain(const std::string& id, const std::string& about);

  std::string Submit(const v1::RunSpec& spec);
  absl::Status Pause(const std::string& run_id);
  absl::Status Stop(const std::string& run_id);
  absl::Status Resume(const std::string& run_id, uint32_t workers = 0);

  /// The coordinator dies and comes back: streams are gone, the journal is replayed.
  void Restart();

  /// What the worker was sent since the last call, oldest first.
  std::vector<v1::CoordinatorMessage> Take(const std::string& id);
  /// The last assignment among `Take(id)`; empty when there was none.
  v1::Assignment TakeAssignment(const std::string& id);

  const Run& run(const std::string& id) const { return engine_->state().runs.at(id); }
  const Worker& worker(const std::string& id) const { return engine_->state().workers.at(id); }
  /// The only team.
  const Team& team() const;
  bool has_team() const { return !engine_->state().teams.empty(); }
  std::vector<std::string> Members() const;
  Engine& engine() { return *engine_; }
  Moment now() const { return now_; }
  const std::vector<v1::JournalRecord>& records() const { return records_; }
  const std::map<StateKey, std::string>& states() const { return states_; }
  bool link_open(const std::string& id) const { return links_.count(id) != 0; }
  LinkId link(const std::string& id) const { return links_.at(id); }
  std::vector<std::string> events;  // messages, oldest first

  void Absorb(Effects effects);

 private:
  CoreOptions options_;
  uint64_t random_ = 0;
  Moment now_{absl::Seconds(1000), absl::FromUnixSeconds(1700000000)};
  std::unique_ptr<Engine> engine_;
  std::vector<v1::JournalRecord> records_;
  std::map<StateKey, std::string> states_;
  std::map<std::string, LinkId> links_;
  std::map<LinkId, std::string> owners_;
  std::map<std::string, v1::WorkerIdentity> identities_;
  std::map<std::string, std::vector<v1::CoordinatorMessage>> inboxes_;
  LinkId next_link_ = 1;
  uint64_t beats_ = 0;
};

}  // namespace neolog::coordinator::testing
