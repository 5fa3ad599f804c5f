#pragma once

#include <string>

#include "common/base/status.h"
#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// Takes one journal record into the state. The only function that changes what is durable: used
/// both when a decision is made and when the journal is replayed. DataLoss when the record
/// contradicts what came before it (an unknown run, a gap between commits, a roster version that
/// does not follow), which only a damaged journal can cause.
absl::Status Apply(const v1::JournalRecord& record, ClusterState& state);

/// Everything durable as text, one fact a line, for comparing two states.
std::string DescribeDurable(const ClusterState& state);

}  // namespace neolog::coordinator
