#pragma once

#include "coordinator/core/state.h"
#include "neolog/v1/status.pb.h"

namespace neolog::coordinator {

/// A run as clients see it.
v1::RunInfo InfoOf(const ClusterState& state, const Run& run, SteadyTime now);

/// A worker as clients see it. An idle worker's reason says which queued or running run it does not
/// fit.
v1::WorkerInfo InfoOf(const ClusterState& state, const Worker& worker, SteadyTime now);

/// Runs newest first, workers by id. Version and start time are left to the caller.
v1::GetStatusResponse StatusOf(const ClusterState& state, SteadyTime now);

}  // namespace neolog::coordinator
