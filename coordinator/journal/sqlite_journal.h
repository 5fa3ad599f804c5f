#pragma once

#include <memory>
#include <string>

#include "common/base/mutex.h"
#include "coordinator/journal/journal.h"

namespace neolog::coordinator {

/// The journal as one SQLite file (write-ahead log, every commit synced). Tables: `events(seq,
/// hash, record)` with records as serialised JournalRecords, and `states(run_id, step, hash,
/// bytes)`; `hash` is Hash64 of the bytes beside it. application_id and user_version say whose file
/// it is and which schema it has. Safe for use from any thread; reads have a connection of their
/// own and do not wait for a commit's syncs.
class SqliteJournal : public Journal {
 public:
  /// The schema that this version reads and writes.
  static constexpr int kSchemaVersion = 1;

  /// Opens the file or makes it. DataLoss when it is no journal or is damaged (the message says how
  /// to go on from a backup); FailedPrecondition when it has another schema version, or another
  /// process has it open.
  static absl::StatusOr<std::unique_ptr<SqliteJournal>> Open(const std::string& path);
  ~SqliteJournal() override;

  absl::Status Append(const JournalBatch& batch) override;
  absl::Status Replay(
      const std::function<absl::Status(uint64_t, const v1::JournalRecord&)>& visit) override;
  absl::StatusOr<std::string> ReadState(const StateKey& key) override;
  absl::Status Backup(const std::string& path) override;

 private:
  struct Writer;
  struct Reader;
  SqliteJournal(std::string path, std::unique_ptr<Writer> writer, std::unique_ptr<Reader> reader);

  const std::string path_;
  Mutex write_mutex_;
  const std::unique_ptr<Writer> writer_ PT_GUARDED_BY(write_mutex_);
  absl::Status broken_ GUARDED_BY(write_mutex_);
  Mutex read_mutex_;
  const std::unique_ptr<Reader> reader_ PT_GUARDED_BY(read_mutex_);
};

}  // namespace neolog::coordinator
