#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "common/base/subprocess.h"
#include "tests/support/scoped_dir.h"

namespace neolog::testing {

/// A user's local cluster in a folder of its own, driven with the real programs as a user drives them. Down at the end.
class LocalClusterForTest {
 public:
  LocalClusterForTest();
  ~LocalClusterForTest();

  /// Runs `neolog ARGS...` to its end.
  CommandResult Neolog(std::vector<std::string> args);
  /// Starts `neolog ARGS...`, with both streams in files.
  std::unique_ptr<Subprocess> Start(std::vector<std::string> args);
  /// What a Start-ed neolog said on its error stream.
  std::string StartedErr() const;

  /// Writes a run file on the demo's model that learns `word` from its pictures, and returns its path.
  std::string RunFile(const std::string& word, int steps, const std::string& extra = "");
  /// The bytes of both embedding files of a finished run, one after the other; empty when one is missing.
  std::string EmbeddingBytes(const std::string& word);

  /// `neolog status --json`; null when the coordinator does not answer.
  nlohmann::json Status();
  /// The run's part of it; null when it is not there.
  nlohmann::json RunStatus(const std::string& name);
  /// Committed steps of a run.
  int StepOf(const std::string& name);
  /// Process ids of live workers, by id.
  std::map<std::string, pid_t> WorkerPids();
  /// The coordinator's process id, from the lock that it holds.
  pid_t CoordinatorPid();

  const ScopedDir& dir() const { return dir_; }

 private:
  SpawnOptions Options(std::vector<std::string> args);

  ScopedDir dir_;
};

/// Waits for something that other processes bring about; fails after two minutes.
::testing::AssertionResult Eventually(const std::function<bool()>& condition);

}  // namespace neolog::testing
