#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/subprocess.h"
#include "neolog/v1/control.grpc.pb.h"
#include "neolog/v1/journal.pb.h"
#include "tests/support/scoped_dir.h"

namespace neolog::testing {

/// A real coordinator with real workers as processes, where the workers' trainer has no model (neolog-test-worker).
/// Every method that starts or asks something throws std::runtime_error when that fails.
class TeamCluster {
 public:
  TeamCluster();
  ~TeamCluster();

  void StartCoordinator();
  void KillCoordinator();
  /// Starts worker `w<index>`; every microbatch takes `microseconds`. `fault`: see test_worker_main.cc; empty: none.
  void StartWorker(int index, int microseconds, const std::string& fault = "");
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
  /// The run, or an info without id while the coordinator does not answer.
  v1::RunInfo Info(const std::string& run, std::string* state = nullptr);
  void Pause(const std::string& run);
  void Resume(const std::string& run, uint32_t workers);
  uint64_t StepOf(const std::string& run) { return Info(run).step(); }
  /// Waits until the condition holds; false after two minutes.
  bool Wait(const std::function<bool()>& condition);
  bool WaitStep(const std::string& run, uint64_t step);
  bool WaitCompleted(const std::string& run);
  /// Every record of the journal, oldest first. The coordinator must not run.
  std::vector<v1::JournalRecord> Journal();

 private:
  std::unique_ptr<v1::ControlService::Stub> Control();

  ScopedDir dir_;
  std::unique_ptr<Subprocess> coordinator_;
  std::map<int, std::unique_ptr<Subprocess>> workers_;
};

}  // namespace neolog::testing
