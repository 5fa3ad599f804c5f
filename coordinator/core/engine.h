#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/effects.h"
#include "coordinator/core/options.h"
#include "coordinator/core/registry.h"
#include "coordinator/core/run_states.h"
#include "coordinator/core/state.h"
#include "neolog/v1/control.pb.h"

namespace neolog::coordinator {

/// When something happened, on both clocks.
struct Moment {
  SteadyTime steady;
  absl::Time wall;
};

/// The coordinator without its threads, files and sockets: events in, effects out. Every event is
/// one transaction. Not thread-safe: the owner calls one function at a time, and sends what comes
/// back in the order of the calls, each after its batch is durable. README.md says what workers can
/// rely on.
class Engine {
 public:
  /// `random` draws 64 random bits, for run ids.
  Engine(CoreOptions options, std::function<uint64_t()> random)
      : options_(options), random_(std::move(random)) {}

  /// Restart: every record of the journal in order, then the states named by NeededStates, then
  /// Start. DataLoss when records contradict each other, or a state does not fit its hash.
  absl::Status Restore(const v1::JournalRecord& record);
  std::vector<StateKey> NeededStates() const;
  absl::Status RestoreState(const StateKey& key, std::string bytes);
  /// Gives members of journaled rosters their grace.
  Effects Start(const Moment& now);

  /// A message from a worker's stream.
  Effects OnMessage(const Moment& now, LinkId link, const v1::WorkerMessage& message);
  /// A worker's stream has ended, whoever ended it.
  Effects OnLinkClosed(const Moment& now, LinkId link);
  /// To be called every few tens of milliseconds: leases, suspicions, placement.
  Effects OnTick(const Moment& now);
  /// The coordinator is about to end in good order: tells every worker.
  Effects OnShutdown(const std::string& reason);

  // Requests; see ControlService for errors. `effects` is filled also when nothing is returned to
  // the caller.
  /// `log_dir` is the folder for the run's results, found free by the caller; that no unfinished
  /// run has it is checked here. A dry run has no effects.
  absl::StatusOr<v1::SubmitRunResponse> Submit(const Moment& now,
                                               const v1::SubmitRunRequest& request,
                                               const std::string& log_dir, Effects& effects);
  absl::StatusOr<v1::StopRunResponse> Stop(const Moment& now, const v1::StopRunRequest& request,
                                           Effects& effects);
  absl::StatusOr<v1::PauseRunResponse> Pause(const Moment& now, const v1::PauseRunRequest& request,
                                             Effects& effects);
  absl::StatusOr<v1::ResumeRunResponse> Resume(const Moment& now,
                                               const v1::ResumeRunRequest& request,
                                               Effects& effects);
  absl::StatusOr<v1::GetRunResponse> Get(const Moment& now, const v1::GetRunRequest& request) const;
  v1::ListRunsResponse List(const Moment& now) const;
  absl::StatusOr<v1::GetStepsResponse> Steps(const v1::GetStepsRequest& request) const;
  v1::GetStatusResponse Status(const Moment& now) const;
  /// The run of this idempotency key, or null.
  const Run* FindByKey(const std::string& idempotency_key) const;

  const ClusterState& state() const { return state_; }
  const CoreOptions& options() const { return options_; }

 private:
  /// One event being worked on: collects effects.
  struct Turn {
    Moment now;
    Effects effects;
    std::map<std::string, std::string> run_events;  // run id -> message
    std::set<std::string> step_events;              // runs of which only steps moved
    std::vector<std::pair<std::string, std::string>> worker_events;  // worker id, message
    std::vector<std::pair<std::string, std::string>> roster_events;  // team id, message
    bool place = false;  // idle workers or the queue changed
  };

  // engine.cc
  void Write(Turn& turn, v1::JournalRecord record);
  void Send(Turn& turn, LinkId link, v1::CoordinatorMessage message, bool close = false);
  Effects Finish(Turn turn);
  void MoveRun(Turn& turn, const std::string& run_id, RunEvent event, const std::string& reason,
               const v1::RunFailure* failure = nullptr);
  void LoseWorkers(Turn& turn, const std::vector<Loss>& losses);
  void ChangeRoster(Turn& turn, const std::string& team_id, const std::set<std::string>& gone,
                    const std::vector<std::string>& newcomers, const std::string& reason);
  void Disband(Turn& turn, const std::string& team_id, const std::string& reason);
  void DisbandIfDone(Turn& turn, const std::string& team_id);
  void SendAssignment(Turn& turn, const Team& team);
  void EndHangs(Turn& turn);
  void SendControls(Turn& turn, const Team& team, LinkId link);
  void SendControl(Turn& turn, const Team& team, const std::string& run_id,
                   v1::ControlRequest::Action action, LinkId only_link);
  void PlaceNow(Turn& turn);
  std::vector<LinkId> LinksOf(const Team& team) const;

  // engine_agent.cc
  void HandleRegister(Turn& turn, LinkId link, const v1::WorkerIdentity& identity,
                      const v1::Register& info);
  void HandleHeartbeat(Turn& turn, Worker& worker, const v1::Heartbeat& heartbeat);
  void HandleCommit(Turn& turn, Worker& worker, const v1::CommitReport& report);
  void HandleAssignment(Turn& turn, Worker& worker, const v1::AssignmentReport& report);
  void HandleFailed(Turn& turn, Worker& worker, const v1::AssignmentReport& report);
  void HandleDone(Turn& turn, Worker& worker, const v1::AssignmentReport& report);
  void HandleLatent(Turn& turn, Worker& worker, const v1::LatentReport& report);
  void HandlePeerFailure(Turn& turn, Worker& worker, const v1::PeerFailure& failure);
  void HandleArtifact(Turn& turn, Worker& worker, const v1::ArtifactReport& report);
  void Commit(Turn& turn, const v1::WorkerIdentity& reporter, const v1::CommitReport& report,
              int first_new);
  void FailRuns(Turn& turn, const std::string& team_id, const std::vector<std::string>& run_ids,
                const v1::RunFailure& failure, bool left_the_pack);
  void NoteLeaving(Turn& turn, const std::string& run_id, uint64_t step);
  void Refuse(Turn& turn, LinkId link, v1::Refused::Code code, const std::string& message,
              bool close);

  // engine_control.cc
  absl::StatusOr<std::string> Ask(Turn& turn, const std::string& id_or_name, RunEvent event,
                                  const std::string& reason);

  const CoreOptions options_;
  const std::function<uint64_t()> random_;
  ClusterState state_;
  std::map<LinkId, v1::WorkerIdentity> links_;  // streams that sent Register and were accepted
};

}  // namespace neolog::coordinator
