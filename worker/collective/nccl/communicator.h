#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <thread>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "worker/collective/nccl/libraries.h"

namespace neolog::collective::nccl {

/// One operation of a communicator, on host memory: it is copied to the device and back.
struct Operation {
  enum class Kind {
    kAllGather,     // `receive` is as long as the ranks' `send` together, which are equally long
    kAllReduceSum,  // float32; both equally long
    kBroadcast,     // the root's `send` becomes everyone's `receive`; both equally long
  };
  Kind kind = Kind::kAllGather;
  int root = 0;
  std::span<const std::byte> send;
  std::span<std::byte> receive;
};

/// One NCCL communicator, and the one thread that makes every call on it.
///
///       New ──Init──► Initialising ──every rank came──► Ready ◄──────► Busy
///        │                 │                              │    Run      │
///        │Abort            │error, watch, Abort           │Abort        │error, watch, Abort
///        └───────────────► Aborting ◄─────────────────────┴─────────────┘
///                           │    │
///          the abort returned    did not return within abort_limit
///                           │    │
///                          Dead  Stuck: on_stuck; this process cannot go on
///
/// No call waits for a peer: the communicator does not block, and what is under way is polled
/// beside `watch`. After any error it is aborted, never finalised and never destroyed (NCCL's user
/// guide, "Fault Tolerance"), and a new roster gets a new communicator.
///
/// MakeId, Init and Run are called from one thread at a time; Abort and state from any.
class Communicator {
 public:
  struct Options {
    /// The CUDA device.
    int device = 0;
    /// How long an abort may take.
    std::chrono::milliseconds abort_limit{10'000};
    /// Called when it took longer, from the destructor. The thread is lost inside the library, with
    /// the device's memory: a worker ends its process here, and is started anew.
    std::function<void(const absl::Status&)> on_stuck;
  };
  enum class State { kNew, kInitialising, kReady, kBusy, kAborting, kDead, kStuck };

  /// `watch` is asked on the communicator's thread while an Init or a Run is under way, many times
  /// a millisecond: its first error ends them. It is not called after the destructor has begun to
  /// abort, nor after Abort has returned and the running call with it.
  Communicator(std::shared_ptr<const Libraries> libraries, Options options,
               std::function<absl::Status()> watch);
  /// Aborts, and waits for that.
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// What the ranks of a new communicator meet by; rank 0 makes it and tells the others.
  absl::StatusOr<UniqueId> MakeId();
  /// Returns when every rank has come. Unavailable when the error may be a peer's, Unknown when it
  /// is this process's (NCCL, the driver, the device), the status of `watch`, or the reason of
  /// Abort.
  absl::Status Init(const UniqueId& id, int rank, int size);
  /// Does `operation`; errors as Init. After an error every call returns the first one.
  absl::Status Run(const Operation& operation);
  /// Ends what runs, at once, and everything after it. The first reason stays.
  void Abort(const absl::Status& reason);
  State state() const;

 private:
  class Core;
  const std::shared_ptr<Core> core_;  // shared with the thread, which may have to be left behind
  std::thread thread_;
};

}  // namespace neolog::collective::nccl
