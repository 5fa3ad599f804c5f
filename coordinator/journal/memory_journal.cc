#include "coordinator/journal/memory_journal.h"

#include <fmt/format.h>

namespace neolog::coordinator {

absl::Status MemoryJournal::Append(const JournalBatch& batch) {
  MutexLock lock(mutex_);
  if (!failure_.ok()) return failure_;
  ++appends_;
  for (const v1::JournalRecord& record : batch.records)
    records_.push_back(record.SerializeAsString());
  for (const StateKey& key : batch.drop_states) states_.erase(key);
  for (const auto& [key, bytes] : batch.put_states) states_[key] = bytes;
  return absl::OkStatus();
}

absl::Status MemoryJournal::Replay(
    const std::function<absl::Status(uint64_t, const v1::JournalRecord&)>& visit) {
  std::vector<std::string> records;
  {
    MutexLock lock(mutex_);
    records = records_;
  }
  for (size_t i = 0; i < records.size(); ++i) {
    v1::JournalRecord record;
    if (!record.ParseFromString(records[i]))
      return DataLoss(fmt::format("journal record {} is damaged", i + 1));
    RETURN_IF_ERROR_WITH(visit(i + 1, record), fmt::format("journal record {}", i + 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MemoryJournal::ReadState(const StateKey& key) {
  MutexLock lock(mutex_);
  const auto state = states_.find(key);
  if (state == states_.end()) {
    return NotFound(
        fmt::format("the journal keeps no state of run '{}' after step {}", key.run_id, key.step));
  }
  return state->second;
}

absl::Status MemoryJournal::Backup(const std::string&) {
  return absl::UnimplementedError("a journal in memory has no backup");
}

void MemoryJournal::FailAppends(absl::Status status) {
  MutexLock lock(mutex_);
  failure_ = std::move(status);
}

uint64_t MemoryJournal::appends() const {
  MutexLock lock(mutex_);
  return appends_;
}

}  // namespace neolog::coordinator
