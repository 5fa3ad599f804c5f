#pragma once

#include <string>

#include "common/base/status.h"
#include "common/rpc/target.h"

namespace neolog::coordinator {

/// Makes a Unix socket's place ready: its folder exists (made with mode 0700 when missing) and is
/// closed to other users, a socket file that a dead process left is removed. FailedPrecondition
/// when other users can get at the folder; AlreadyExists when a living process listens there (named
/// by its id where the system tells), or something that is no socket is in the way. OK for TCP
/// targets.
absl::Status PrepareListening(const Target& target);

/// Why a target could not be bound, after the fact: AlreadyExists when the port or socket is in
/// use, else Unavailable with the system's words.
absl::Status WhyNotBound(const Target& target);

}  // namespace neolog::coordinator
