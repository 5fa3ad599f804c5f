#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/storage/blob_store.h"
#include "neolog/v1/control.pb.h"
#include "neolog/v1/status.pb.h"

namespace neolog::cli::testing {

/// A coordinator of a few lines behind the real services, for testing the client side over a real
/// socket: it keeps runs as it is told and sends the events it is given.
class FakeCoordinator {
 public:
  /// Listens on unix:`socket_path`.
  explicit FakeCoordinator(const std::string& socket_path);
  ~FakeCoordinator();

  const std::string& target() const { return target_; }

  /// What GetStatus says; 0.1.0 at first.
  void SetVersion(const std::string& version);
  /// Adds a run or replaces the one with its id, and sends it to every watcher.
  void SetRun(const v1::RunInfo& run);
  v1::RunInfo GetRun(const std::string& run_id);
  /// What a submitted run goes through, one state after the other, as soon as somebody watches it.
  void SetScript(std::vector<v1::RunInfo> script);
  /// Called, on the server's thread, when a run was asked to stop.
  void OnStop(std::function<void(const std::string& run_id)> on_stop);
  /// Breaks every event stream once.
  void BreakStreams();

  std::vector<v1::SubmitRunRequest> submitted();
  std::map<std::string, std::string> blobs();
  int watchers();

 private:
  struct State;
  std::string target_;
  std::unique_ptr<State> state_;
};

}  // namespace neolog::cli::testing
