#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "coordinator/journal/journal.h"

namespace neolog::coordinator {

/// A journal in memory, for tests. It keeps the serialised records, so that what comes back went
/// through the wire format.
class MemoryJournal : public Journal {
 public:
  absl::Status Append(const JournalBatch& batch) override;
  absl::Status Replay(
      const std::function<absl::Status(uint64_t, const v1::JournalRecord&)>& visit) override;
  absl::StatusOr<std::string> ReadState(const StateKey& key) override;
  /// Unimplemented: there is no file to copy.
  absl::Status Backup(const std::string& path) override;

  /// The next Append, and every one after it, fails with this.
  void FailAppends(absl::Status status);
  /// Appends so far.
  uint64_t appends() const;

 private:
  mutable Mutex mutex_;
  std::vector<std::string> records_ GUARDED_BY(mutex_);
  std::map<StateKey, std::string> states_ GUARDED_BY(mutex_);
  absl::Status failure_ GUARDED_BY(mutex_);
  uint64_t appends_ GUARDED_BY(mutex_) = 0;
};

}  // namespace neolog::coordinator
