#pragma once

#include <functional>
#include <string>

#include "common/base/status.h"
#include "coordinator/core/effects.h"

namespace neolog::coordinator {

/// The coordinator's memory across restarts: an append-only log of records, and the states that
/// they name. One thread appends; Replay and ReadState may be called from other threads meanwhile.
class Journal {
 public:
  virtual ~Journal() = default;

  /// Writes a batch in one transaction: after OK all of it survives a kill and a power loss, after
  /// an error none of it does and no further append is accepted. Several decisions belong in one
  /// batch (group commit): a transaction costs two disk syncs whatever its size. ResourceExhausted
  /// when the disk is full; Unavailable for other I/O errors.
  virtual absl::Status Append(const JournalBatch& batch) = 0;

  /// Calls `visit` for every record, oldest first, with sequence numbers from 1 without gaps; stops
  /// at its first error. DataLoss, naming the record, when one is damaged or missing.
  virtual absl::Status Replay(
      const std::function<absl::Status(uint64_t, const v1::JournalRecord&)>& visit) = 0;

  /// The bytes of a kept state. NotFound when it was never kept or was dropped; DataLoss when it is
  /// damaged.
  virtual absl::StatusOr<std::string> ReadState(const StateKey& key) = 0;

  /// A whole copy as of now, at `path`, which must not exist. May run while others append.
  virtual absl::Status Backup(const std::string& path) = 0;
};

}  // namespace neolog::coordinator
