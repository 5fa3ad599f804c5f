#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/subprocess.h"
#include "tests/integration/cluster_watch.h"
#include "tests/integration/journal_checks.h"
#include "tests/support/scoped_dir.h"

namespace neolog::testing {

/// A user's local cluster in a folder of its own, driven with the real programs as a user drives
/// them. Down at the end.
class LocalClusterForTest {
 public:
  /// `env` is added to what the programs see.
  explicit LocalClusterForTest(std::vector<std::pair<std::string, std::string>> env = {});
  ~LocalClusterForTest();

  /// Runs `neolog ARGS...` to its end.
  CommandResult Neolog(std::vector<std::string> args);
  /// `neolog train ARGS... --detach`; the test fails when the run is not accepted.
  void Submit(std::vector<std::string> args);
  /// Starts `neolog ARGS...`, with both streams in files.
  std::unique_ptr<Subprocess> Start(std::vector<std::string> args);
  /// What a Start-ed neolog said on its error stream.
  std::string StartedErr() const;

  /// Writes a run file on the demo's model that learns `word` from its pictures, and returns its
  /// path.
  std::string RunFile(const std::string& word, int steps, const std::string& extra = "");
  /// What `neolog train` is given for the demo's own run, as configs/demo/run_demo.sh gives it,
  /// with results in this cluster's folder.
  std::vector<std::string> DemoRun(int workers);
  /// The same settings for a run of another name that learns `word` in `steps` steps.
  std::vector<std::string> DemoNeighbour(const std::string& name, const std::string& word,
                                         int workers, int steps);
  /// The bytes of both embedding files of a finished run, one after the other; empty when one is
  /// missing.
  std::string EmbeddingBytes(const std::string& name);

  /// Waits and looks through the coordinator's own stream of events.
  ClusterWatch& watch() { return watch_; }
  /// `neolog status --json`; null when the coordinator does not answer.
  nlohmann::json Status();
  /// Process ids of live workers, by id.
  std::map<std::string, pid_t> WorkerPids();
  /// The coordinator's process id, from the lock that it holds; 0 when none does.
  pid_t CoordinatorPid();
  /// SIGKILL of the coordinator. Returns at once: its supervisor starts another one.
  void KillCoordinator();
  /// Waits until a coordinator other than the killed one answers.
  bool WaitForNewCoordinator();

  /// `neolog down`, then everything that the journal says.
  Records DownAndJournal();

  const ScopedDir& dir() const { return dir_; }

 private:
  SpawnOptions Options(std::vector<std::string> args);

  const std::vector<std::pair<std::string, std::string>> env_;
  ScopedDir dir_;
  ClusterWatch watch_;
  pid_t killed_coordinator_ = 0;
};

}  // namespace neolog::testing
