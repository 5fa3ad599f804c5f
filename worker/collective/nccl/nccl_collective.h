#pragma once

#include <chrono>
#include <memory>

#include "worker/collective/collective.h"
#include "worker/collective/link.h"
#include "worker/collective/nccl/communicator.h"
#include "worker/collective/nccl/libraries.h"

namespace neolog::collective::nccl {

struct NcclOptions {
  Communicator::Options communicator;
  /// An operation that has waited this long is logged, once, with the ranks that have not begun it
  /// and the last operations before it. It goes on waiting: every lease lives.
  std::chrono::milliseconds stall_limit{30'000};
  /// When every rank has begun an operation and it has not ended this long afterwards, NCCL hangs,
  /// or a device does: a member that notices it leaves the team, which goes on with a new
  /// roster and new communicators.
  std::chrono::milliseconds hang_limit{60'000};
  /// When NCCL loses a peer it does not say which: how long the link may take to say it.
  std::chrono::milliseconds blame_limit{1'000};
  /// How long a member that leaves in good order waits for the others to be done with it.
  std::chrono::milliseconds leave_limit{1'000};
};

/// Collectives that move their bytes over NCCL, one device a process, and agree over a link: rank 0
/// sends the communicator's id over it, every rank announces its operations on it, and a peer that
/// dies, aborts or does something else ends an operation through it at once. (NCCL between devices
/// of one host notices none of that.) No operation ends well before every rank has announced the
/// same.
///
///   link:  rank 0 ──id──► rank 1     rank r ──"allgather 8 8"──► all     …     rank r ──leave──►
///   all NCCL:  Init ─────────────────────────────────► AllGather ──► …  ──► abort
///
/// The communicator is made by the first operation, so that Create waits for nobody.
class NcclFactory : public CollectiveFactory {
 public:
  /// `links` must outlive the factory and its collectives.
  NcclFactory(std::shared_ptr<const Libraries> libraries, LinkFactory* links, NcclOptions options)
      : libraries_(std::move(libraries)), links_(links), options_(std::move(options)) {}
  absl::StatusOr<std::unique_ptr<Collective>> Create(const v1::Roster& roster,
                                                     const v1::WorkerIdentity& self) override;

 private:
  const std::shared_ptr<const Libraries> libraries_;
  LinkFactory* const links_;
  const NcclOptions options_;
};

}  // namespace neolog::collective::nccl
