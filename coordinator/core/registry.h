#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/options.h"
#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// What becomes of a registration.
struct RegistrationDecision {
  enum class Kind {
    kNew,        ///< a worker, or an incarnation, that was not known
    kReconnect,  ///< the live incarnation opened another stream
    kRefuse,     ///< see `refusal`
  };
  Kind kind = Kind::kRefuse;
  /// kNew: an earlier incarnation of this id is live in the books and certainly dead; it is to be
  /// lost first.
  bool replaces_earlier = false;
  v1::Refused refusal;
  /// Why, in words.
  std::string reason;
};

/// Decides about a Register from `worker`. Refused: another major.minor version (VERSION), an id
/// whose live incarnation has an open stream or, without one, a lease that a stream closed in good
/// order would still be renewing (DUPLICATE_ID), and an incarnation that is over
/// (STALE_INCARNATION). An earlier incarnation without an open stream is replaced: the new process
/// could not have its id otherwise.
RegistrationDecision DecideRegistration(const ClusterState& state, const v1::WorkerIdentity& worker,
                                        const v1::Register& info);

/// A worker that is lost now, and why.
struct Loss {
  std::string worker_id;
  std::string reason;
};

/// Workers whose lease ended at or before `now`, in the order of their ids.
std::vector<Loss> ExpiredWorkers(const ClusterState& state, SteadyTime now);

/// What a peer's complaint comes to.
struct AccusationDecision {
  enum class Kind {
    kIgnore,   ///< not about a member of this roster
    kLost,     ///< its stream is closed as well: it is dead
    kSuspect,  ///< its stream is open: wait `suspicion_wait`
  };
  Kind kind = Kind::kIgnore;
  std::string reason;
};
AccusationDecision DecideAccusation(const ClusterState& state, const v1::WorkerIdentity& accuser,
                                    const v1::PeerFailure& failure);

/// What is known when a suspicion's time is up.
struct SuspicionDecision {
  enum class Kind {
    kLease,    ///< no sign of life since: the lease decides
    kRebuild,  ///< it lives: only the link broke, so a roster with the same members
    kRemove,   ///< it lives, and links to it broke too often: a roster without it
  };
  Kind kind = Kind::kLease;
  std::string reason;
};
SuspicionDecision DecideSuspicion(const CoreOptions& options, const Worker& worker,
                                  const Team& team);

/// "1.2" of "1.2.3".
std::string MajorMinor(std::string_view version);

/// "'w0' (incarnation 00000000000000ff)", as messages name a worker.
std::string WorkerName(const v1::WorkerIdentity& worker);

}  // namespace neolog::coordinator
