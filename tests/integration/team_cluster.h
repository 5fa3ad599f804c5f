#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/subprocess.h"
#include "neolog/v1/control.grpc.pb.h"
#include "tests/integration/cluster_watch.h"
#include "tests/integration/journal_checks.h"
#include "tests/support/scoped_dir.h"

namespace neolog::testing {

/// A real coordinator with real workers as processes, where the workers' trainer has no model
/// (neolog-test-worker). `nccl` is what the workers gather over, a libnccl with a CUDA runtime in
/// it; empty: their own streams. Every method that starts or asks something throws
/// std::runtime_error when that fails.
class TeamCluster {
 public:
  explicit TeamCluster(std::string nccl = "", std::string reduce = "ordered");
  ~TeamCluster();

  void StartCoordinator();
  void KillCoordinator();
  /// Starts worker `w<index>`; every microbatch takes `microseconds`. `fault`: see
  /// test_worker_main.cc; empty: none. `nccl_script`: what its libnccl does, see fake_nccl.h.
  void StartWorker(int index, int microseconds, const std::string& fault = "",
                   const std::string& nccl_script = "");
  void SignalWorker(int index, int signal);
  /// SIGKILL, reaped.
  void KillWorker(int index);
  bool WorkerRuns(int index);
  pid_t WorkerPid(int index) { return workers_.at(index)->pid(); }
  std::string WorkerLog(int index) const;
  std::string CoordinatorLog() const;

  /// Submits a run of `steps` steps of `batch` samples on `workers` workers and returns its id.
  std::string Submit(const std::string& name, uint32_t steps, uint32_t batch, uint32_t workers);
  v1::RunSpec Spec(const std::string& name, uint32_t steps, uint32_t batch, uint32_t workers) const;
  /// See ClusterWatch::Run.
  v1::RunInfo Info(const std::string& run, std::string* state = nullptr) {
    return watch_.Run(run, state);
  }
  void Pause(const std::string& run);
  void Resume(const std::string& run, uint32_t workers);
  uint64_t StepOf(const std::string& run) { return watch_.StepOf(run); }
  ClusterWatch& watch() { return watch_; }
  bool Wait(const std::function<bool()>& condition) { return watch_.Wait(condition); }
  bool WaitStep(const std::string& run, uint64_t step) { return watch_.WaitStep(run, step); }
  bool WaitCompleted(const std::string& run);
  /// The coordinator must not run.
  Records Journal();

 private:
  /// The coordinator's address.
  std::string Target() const;

  const std::string nccl_;
  const std::string reduce_;
  ScopedDir dir_;
  ClusterWatch watch_;
  std::unique_ptr<Subprocess> coordinator_;
  std::map<int, std::unique_ptr<Subprocess>> workers_;
};

}  // namespace neolog::testing
