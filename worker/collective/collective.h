#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/base/status.h"
#include "neolog/v1/run.pb.h"

namespace neolog::collective {

/// Operations among the members of one roster, on raw buffers. One object serves one roster
/// version: after any error, or after Abort, it is dead and every call returns the first error; a
/// new roster gets a new object.
///
///             Create ─► Ready ──operation──► Ready
///                         │  error, peer lost, Abort
///                         ▼
///                       Dead (keeps the first error)
///
/// Operations are called from one thread, in the same order on every rank; Abort may be called from
/// any thread and makes a running operation return within milliseconds. An operation has no time
/// limit of its own: it waits as long as every lease lives, and the coordinator's next roster ends
/// it.
///
/// Errors: Unavailable when a peer is gone (the message names its worker id), Aborted after Abort,
/// FailedPrecondition for a peer with another roster version or incarnation, Internal when ranks
/// called different operations.
class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Every rank gives `send`; every rank gets all of them, in rank order, in `receive`. `sizes[r]`
  /// is the number of bytes of rank r, equal on every rank; `send.size() == sizes[rank()]` and
  /// `receive.size()` is their sum.
  virtual absl::Status AllGather(std::span<const std::byte> send, std::span<const size_t> sizes,
                                 std::span<std::byte> receive) = 0;
  /// Sums `values` elementwise over the ranks, in place: the same bits on every rank. Adds in rank
  /// order, except over NCCL, whose order depends on the machines between the ranks.
  virtual absl::Status AllReduceSum(std::span<float> values) = 0;
  /// `buffer` of rank `root` becomes `buffer` of every rank; sizes are equal.
  virtual absl::Status Broadcast(int root, std::span<std::byte> buffer) = 0;
  /// Ends every present and later operation with `reason`. The first reason stays.
  virtual void Abort(const absl::Status& reason) = 0;
};

/// Internal when the buffers of an AllGather do not fit its sizes.
absl::Status CheckGather(const Collective& team, std::span<const std::byte> send,
                         std::span<const size_t> sizes, std::span<const std::byte> receive);

/// Internal when `root` is no rank of the team.
absl::Status CheckRoot(const Collective& team, int root);

/// Makes the collective of one roster version.
class CollectiveFactory {
 public:
  virtual ~CollectiveFactory() = default;
  /// `self` must be a member of `roster`; a roster of one needs no peers. Does not wait for the
  /// peers: the first operation does.
  virtual absl::StatusOr<std::unique_ptr<Collective>> Create(const v1::Roster& roster,
                                                             const v1::WorkerIdentity& self) = 0;
};

}  // namespace neolog::collective
