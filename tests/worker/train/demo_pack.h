#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/storage/memory_blob_store.h"
#include "neolog/v1/agent.pb.h"
#include "neolog/v1/run_spec.pb.h"
#include "worker/session/trainer.h"

namespace neolog::train::testing {

/// A run on the demo's model and pictures (`object`: a folder of configs/demo/pictures): K = 1,
/// batch 4, microbatch 2, 6 pictures, object templates, initial text "thing", learning rate 0.03
/// with cosine.
v1::RunSpec DemoSpec(const std::string& name, const std::string& object, MemoryBlobStore& blobs);

/// An assignment of these runs, without a committed state and with an empty profile.
v1::Assignment AssignmentOf(const std::vector<v1::RunSpec>& specs);

/// A trainer for `assignment`, prepared; nothing is encoded yet.
std::unique_ptr<session::Trainer> NewTrainer(const v1::Assignment& assignment,
                                             MemoryBlobStore& blobs);

/// ComputeMicrobatches and MakeArtifact, with the posteriors they need, as a session does.
/// Posteriors are encoded once per test program.
absl::StatusOr<std::string> Compute(session::Trainer& trainer, session::MicrobatchRange range);
absl::StatusOr<session::Trainer::Artifact> MakeArtifact(session::Trainer& trainer, size_t run,
                                                        uint32_t index);

/// One step as a team whose members compute `counts` microbatches each, in rank order; the counts
/// add up to the step's.
std::vector<session::RunStep> StepAs(session::Trainer& trainer,
                                     const std::vector<uint32_t>& counts);

/// One step as one worker.
std::vector<session::RunStep> Step(session::Trainer& trainer);

/// The rows of a saved state.
std::vector<float> RowsOf(std::string_view state);

}  // namespace neolog::train::testing
