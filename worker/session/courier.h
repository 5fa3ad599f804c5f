#pragma once

#include <deque>
#include <string>
#include <thread>

#include "common/base/mutex.h"
#include "common/storage/blob_store.h"
#include "neolog/v1/agent.pb.h"
#include "worker/session/uplink.h"

namespace neolog::session {

/// Uploads and reports artifacts on a thread of its own, so that no step waits for the coordinator.
/// What cannot be sent is kept, up to `max_bytes`, and tried again when the coordinator is back;
/// beyond that the oldest is given up with a warning. Artifacts are beside the run: losing one
/// never changes its bytes.
class Courier {
 public:
  /// `uplink` and `blobs` must outlive it.
  Courier(Uplink* uplink, BlobStore* blobs, size_t max_bytes);
  /// Gives up what is left and joins.
  ~Courier();
  Courier(const Courier&) = delete;
  Courier& operator=(const Courier&) = delete;

  /// Takes an artifact; empty `bytes` means that the report says everything. Any thread.
  void Add(v1::ArtifactReport report, std::string bytes);
  /// The coordinator is back: tries at once, and repeats the latest reports, which the broken
  /// stream may have lost.
  void OnConnected();
  /// Waits until everything is sent, at most until `deadline`. True when it is.
  bool Drain(std::chrono::steady_clock::time_point deadline);

 private:
  struct Item {
    v1::ArtifactReport report;
    std::string bytes;
  };
  void Loop();
  bool Deliver(Item& item);

  Uplink* const uplink_;
  BlobStore* const blobs_;
  const size_t max_bytes_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool busy_ GUARDED_BY(mutex_) = false;
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t connections_ GUARDED_BY(mutex_) = 0;
  std::deque<Item> queue_ GUARDED_BY(mutex_);
  std::deque<v1::ArtifactReport> sent_ GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the members above
};

}  // namespace neolog::session
