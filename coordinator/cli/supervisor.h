#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/process.h"
#include "common/base/subprocess.h"
#include "coordinator/cli/state_dir.h"
#include "coordinator/cli/supervisor_protocol.h"

namespace neolog::cli {

/// The small process behind a local cluster: it starts the coordinator and the workers, starts dead
/// ones again with growing pauses, answers on its socket, and leaves when it is told to or, when it
/// was started on demand, when no run is active and no client has been attached for `linger`. It
/// lives in a session of its own, so neither a closed terminal nor a Ctrl-C reaches it or its
/// children. One thread; everything happens in Run.
class Supervisor {
 public:
  struct Options {
    StateDir dir;
    std::string coordinator_program;
    std::string worker_program;
    /// Leave when nothing is left to do.
    bool on_demand = false;
    absl::Duration linger = absl::Seconds(10);
    /// The pause before a dead child is started again: doubled from min to max with every death,
    /// back to min after the child lived for `healthy_after`.
    absl::Duration min_backoff = absl::Milliseconds(100);
    absl::Duration max_backoff = absl::Seconds(10);
    absl::Duration healthy_after = absl::Seconds(30);
    /// How long children have between SIGTERM and SIGKILL.
    absl::Duration grace = absl::Seconds(5);
    std::string log_level = "info";
  };
  /// Whether the coordinator has a run that is queued or under way; an error when it cannot be
  /// asked.
  using AnyActiveRun = std::function<absl::StatusOr<bool>()>;

  /// Takes the lock, ends strays of a supervisor that was killed, listens and starts the
  /// coordinator. AlreadyExists when another supervisor lives. `clock` must outlive the result.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(Options options,
                                                            AnyActiveRun any_active_run,
                                                            Clock* clock);
  ~Supervisor();

  /// Until told to leave, by a request, by `stop` becoming readable with SIGTERM or SIGINT, or by
  /// itself. All children have ended when it returns. The result says why it left.
  std::string Run(SignalPipe& stop);

 private:
  struct Child;
  struct Connection;

  Supervisor(Options options, AnyActiveRun any_active_run, Clock* clock);
  absl::Status Listen();
  void EndStrays();
  void WriteChildren();
  void StartDue();
  void Start(Child& child);
  void Reap();
  void Accept();
  /// False when the connection is over.
  bool Serve(Connection& connection);
  SupervisorReply Handle(const SupervisorRequest& request);
  /// Empty, or why a device cannot have what is asked; then nothing was started.
  std::string Ensure(const SupervisorRequest& request);
  bool ShouldLeave();
  void StopChildren();
  absl::Duration UntilNext() const;

  const Options options_;
  const AnyActiveRun any_active_run_;
  Clock* const clock_;
  bool on_demand_;
  std::unique_ptr<LockFile> lock_;
  int listen_fd_ = -1;
  std::vector<std::unique_ptr<Child>> children_;
  std::vector<std::unique_ptr<Connection>> connections_;
  /// Since when nobody is attached; checked against the runs only then.
  SteadyTime idle_since_;
  SteadyTime next_idle_check_;
  std::optional<SteadyTime> unreachable_since_;
  std::string leave_reason_;
};

}  // namespace neolog::cli
