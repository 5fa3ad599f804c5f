#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/base/status.h"
#include "common/storage/blob_store.h"
#include "worker/session/trainer.h"

namespace neolog::train {

struct PackTrainerOptions {
  /// CPU threads where neither the assignment's profile nor the run's settings say how many.
  int threads = 1;
  /// "cpu" or "cuda:N".
  std::string device = "cpu";
  /// Keeps the hashes of model files between processes (common/storage/model_fingerprint.h); empty:
  /// nothing is kept.
  std::string fingerprint_cache;
  /// Whether the next microbatch's noise is drawn while the device works on the present one; by
  /// default on a GPU. Changes no bits.
  std::optional<bool> prepare_ahead;
  /// Where pictures come from; must outlive the trainer.
  BlobStore* blobs = nullptr;
};

/// The trainer that computes with a frozen model: see session::Trainer for its calls.
///
/// A pack's runs share model, precision, resolution, threads and microbatch size M. A step's
/// microbatches are, run by run, M consecutive samples of that run; its last one is filled up with
/// copies that have weight 0, so the shape of every computation is the same and a sample's loss and
/// gradient do not depend on team, pack or place. Each sample has its own copy of the rows as leaf.
/// A payload holds, per sample in order, its loss (mean squared error over channels and positions)
/// and the gradient of that loss, [1 + F] float32 with F the floats
/// of the rows of all text encoders; in fp16 also how often the loss scale was halved for it. Under
/// training.reduce: fast, members add up their shares of the step (TrainedRun::ShareOfStep), run by
/// run.
///
/// A model is loaded only when its files have the fingerprint that the run was made for
/// (InvalidArgument naming both otherwise); a run without one is not checked.
///
/// An empty profile is filled in from the first run's settings; of a filled one, instruction set
/// and libtorch build must be this machine's (FailedPrecondition otherwise). An empty `attention`
/// means: matmul up to kMatmulPositions latent positions, flash above.
///
/// Interrupt is remembered until a call returns Aborted for it, or the next Prepare.
absl::StatusOr<std::unique_ptr<session::Trainer>> CreatePackTrainer(
    const PackTrainerOptions& options);

}  // namespace neolog::train
