#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/storage/blob_store.h"
#include "neolog/v1/run.pb.h"
#include "worker/collective/nccl/libraries.h"
#include "worker/session/trainer.h"

namespace neolog::agent {

/// `neolog-worker run`.
struct RunOptions {
  /// The coordinator, as a gRPC target.
  std::string coordinator;
  /// The worker's stable id.
  std::string id;
  /// The worker's own folder; created with mode 0700. One process at a time.
  std::string state_dir;
  /// Keeps the hashes of model files; workers on one host may share it. Empty: fingerprints.json in
  /// state_dir.
  std::string fingerprint_cache;
  /// Where peers reach this worker: unix:PATH or a loopback host:port. Empty: a socket in
  /// state_dir.
  std::string peer_listen;
  /// CPU threads the worker offers.
  uint32_t threads = 1;
  /// "cpu" or "cuda:N".
  std::string device = "cpu";
};

/// What a worker gathers over besides its peers' streams.
struct Nccl {
  /// Null: nothing else.
  std::shared_ptr<const collective::nccl::Libraries> libraries;
  /// The CUDA device.
  int device = 0;
};

/// What computes: made once the blobs can be reached; `capabilities` are told to the coordinator.
struct Compute {
  std::function<absl::StatusOr<std::unique_ptr<session::Trainer>>(const RunOptions&, BlobStore*)>
      make_trainer;
  /// Without nccl, which RunWorker fills in.
  v1::WorkerCapabilities capabilities;
  Nccl nccl;
  /// What the device last said; may be empty.
  std::function<std::optional<v1::DeviceSample>()> device_sample;
};

/// Works for the coordinator until it says shutdown, or SIGTERM or SIGINT arrives, which says
/// goodbye first. Returns the exit code: 0 after a shutdown, 143 or 130 after a signal, 2 for
/// options that cannot be used, 4 when the coordinator refuses this worker for good (another
/// version, its id in use), 1 for anything else. The error is one line on standard error. A
/// coordinator that cannot be reached is waited for.
int RunWorker(const RunOptions& options, const Compute& compute);

}  // namespace neolog::agent
