#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// Everything wrong with a spec as it arrived, one line each, with the setting's name: limits and
/// choices of the proto's setting options, and what submission fills in (samples, fingerprint, text
/// width). Empty: acceptable. The CLI has checked the YAML before; this is for every other client.
std::vector<std::string> ProblemsOf(const v1::RunSpec& spec);

/// InvalidArgument with every problem, or OK.
absl::Status CheckSpec(const v1::RunSpec& spec);

/// A run by its id, or by its name where that is unique. NotFound, naming the runs there are;
/// FailedPrecondition when several runs have the name, naming their ids.
absl::StatusOr<std::string> ResolveRunId(const ClusterState& state, const std::string& id_or_name);

/// Digests of the blobs a spec needs.
std::vector<std::string> BlobsOf(const v1::RunSpec& spec);

/// A new run's id: its name and six hex digits.
std::string MakeRunId(const ClusterState& state, const std::string& name, uint64_t random_bits);

}  // namespace neolog::coordinator
