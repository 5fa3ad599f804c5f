#pragma once

#include <grpcpp/support/status.h>

#include "common/base/status.h"

namespace neolog {

/// The same code and message on the wire. The codes of absl and gRPC are the same numbers by
/// definition. Payloads stay behind: nothing of ours travels in them.
grpc::Status ToGrpc(const absl::Status& status);

/// The way back. A code that absl does not know becomes Unknown.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace neolog
