#include "coordinator/journal/sqlite_journal.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "common/base/hash.h"

namespace neolog::coordinator {
namespace {

constexpr int kApplicationId = 0x4e4c4a31;  // "NLJ1"
constexpr int kBusyMilliseconds = 2000;

/// An SQLite error as a status; `doing` is what was tried.
absl::Status ToStatus(const SQLite::Exception& error, const std::string& path,
                      std::string_view doing) {
  const std::string message = fmt::format("journal '{}': {}: {}", path, doing, error.what());
  switch (error.getErrorCode()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DataLoss(
          message +
          "; the file is damaged or no journal: move it away and put a backup in its place");
    case SQLITE_FULL: return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return FailedPrecondition(message + "; another process has it open");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return absl::PermissionDeniedError(message);
    default: return Unavailable(message);
  }
}

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

std::string BlobOf(const SQLite::Column& column) {
  return std::string(static_cast<const char*>(column.getBlob()),
                     static_cast<size_t>(column.getBytes()));
}

void BindBlob(SQLite::Statement& statement, int index, const std::string& bytes) {
  statement.bindNoCopy(index, bytes.data(), static_cast<int>(bytes.size()));
}

void Prepare(SQLite::Database& database, const std::string& path, absl::Status& status) {
  const int application = database.execAndGet("PRAGMA application_id").getInt();
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  const int tables = database.execAndGet("SELECT count(*) FROM sqlite_master").getInt();
  if (application == 0 && version == 0 && tables == 0) {
    SQLite::Transaction transaction(database);
    database.exec(
        "CREATE TABLE events(seq INTEGER PRIMARY KEY, hash INTEGER NOT NULL, record BLOB NOT "
        "NULL)");
    database.exec(
        "CREATE TABLE states(run_id TEXT NOT NULL, step INTEGER NOT NULL, hash INTEGER NOT NULL, "
        "bytes BLOB NOT NULL, PRIMARY KEY(run_id, step)) WITHOUT ROWID");
    database.exec(fmt::format("PRAGMA application_id = {}", kApplicationId));
    database.exec(fmt::format("PRAGMA user_version = {}", SqliteJournal::kSchemaVersion));
    transaction.commit();
  } else if (application != kApplicationId) {
    status = DataLoss(fmt::format(
        "journal '{}': the file is an SQLite database of another program; choose another "
        "--state-dir",
        path));
  } else if (version != SqliteJournal::kSchemaVersion) {
    status = FailedPrecondition(
        fmt::format("journal '{}': its schema has version {}, this coordinator reads version "
                    "{}: use the coordinator that wrote it",
                    path, version, SqliteJournal::kSchemaVersion));
  } else {
    SQLite::Statement check(database, "PRAGMA quick_check(1)");
    check.executeStep();
    if (const std::string result = check.getColumn(0).getString(); result != "ok") {
      status = DataLoss(fmt::format(
          "journal '{}' is damaged: {}; move it away and put a backup in its place", path, result));
    }
  }
}

}  // namespace

struct SqliteJournal::Writer {
  explicit Writer(const std::string& path)
      : database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, kBusyMilliseconds) {}
  void PrepareStatements() {
    add_event = std::make_unique<SQLite::Statement>(
        database, "INSERT INTO events(hash, record) VALUES(?, ?)");
    put_state = std::make_unique<SQLite::Statement>(
        database, "INSERT OR REPLACE INTO states(run_id, step, hash, bytes) VALUES(?, ?, ?, ?)");
    drop_state = std::make_unique<SQLite::Statement>(
        database, "DELETE FROM states WHERE run_id = ? AND step = ?");
  }
  SQLite::Database database;
  std::unique_ptr<SQLite::Statement> add_event;
  std::unique_ptr<SQLite::Statement> put_state;
  std::unique_ptr<SQLite::Statement> drop_state;
};

struct SqliteJournal::Reader {
  explicit Reader(const std::string& path)
      : database(path, SQLite::OPEN_READONLY, kBusyMilliseconds) {}
  SQLite::Database database;
};

SqliteJournal::SqliteJournal(std::string path, std::unique_ptr<Writer> writer,
                             std::unique_ptr<Reader> reader)
    : path_(std::move(path)), writer_(std::move(writer)), reader_(std::move(reader)) {}

SqliteJournal::~SqliteJournal() = default;

absl::StatusOr<std::unique_ptr<SqliteJournal>> SqliteJournal::Open(const std::string& path) {
  try {
    auto writer = std::make_unique<Writer>(path);
    ::chmod(path.c_str(),
            S_IRUSR | S_IWUSR);  // runs hold paths and prompts; the journal is the user's alone
    SQLite::Database& database = writer->database;
    // A torn or foreign file fails at the first pragma that reads it.
    if (const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
        mode != "wal") {
      return FailedPrecondition(
          fmt::format("journal '{}': the disk does not allow a write-ahead log (mode '{}'); "
                      "choose a --state-dir on a local disk",
                      path, mode));
    }
    database.exec("PRAGMA synchronous = FULL");
    absl::Status status;
    Prepare(database, path, status);
    RETURN_IF_ERROR(status);
    writer->PrepareStatements();
    auto reader = std::make_unique<Reader>(path);
    return std::unique_ptr<SqliteJournal>(
        new SqliteJournal(path, std::move(writer), std::move(reader)));
  } catch (const SQLite::Exception& error) {
    return ToStatus(error, path, "opening it");
  }
}

absl::Status SqliteJournal::Append(const JournalBatch& batch) {
  if (batch.empty()) return absl::OkStatus();
  MutexLock lock(write_mutex_);
  RETURN_IF_ERROR(broken_);
  try {
    SQLite::Transaction transaction(writer_->database);
    for (const v1::JournalRecord& record : batch.records) {
      const std::string bytes = record.SerializeAsString();
      SQLite::Statement& add = *writer_->add_event;
      add.reset();
      add.bind(1, Signed(Hash64(bytes)));
      BindBlob(add, 2, bytes);
      add.exec();
    }
    for (const StateKey& key : batch.drop_states) {
      SQLite::Statement& drop = *writer_->drop_state;
      drop.reset();
      drop.bind(1, key.run_id);
      drop.bind(2, Signed(key.step));
      drop.exec();
    }
    for (const auto& [key, bytes] : batch.put_states) {
      SQLite::Statement& put = *writer_->put_state;
      put.reset();
      put.bind(1, key.run_id);
      put.bind(2, Signed(key.step));
      put.bind(3, Signed(Hash64(bytes)));
      BindBlob(put, 4, bytes);
      put.exec();
    }
    transaction.commit();
    return absl::OkStatus();
  } catch (const SQLite::Exception& error) {
    broken_ = ToStatus(error, path_, fmt::format("writing {} records", batch.records.size()));
    return broken_;
  }
}

absl::Status SqliteJournal::Replay(
    const std::function<absl::Status(uint64_t, const v1::JournalRecord&)>& visit) {
  MutexLock lock(read_mutex_);
  try {
    SQLite::Statement select(reader_->database,
                             "SELECT seq, hash, record FROM events ORDER BY seq");
    uint64_t expected = 1;
    while (select.executeStep()) {
      const auto seq = static_cast<uint64_t>(select.getColumn(0).getInt64());
      if (seq != expected) {
        return DataLoss(fmt::format("journal '{}': record {} is missing; put a backup in its place",
                                    path_, expected));
      }
      ++expected;
      const std::string bytes = BlobOf(select.getColumn(2));
      v1::JournalRecord record;
      if (Signed(Hash64(bytes)) != select.getColumn(1).getInt64() ||
          !record.ParseFromString(bytes)) {
        return DataLoss(fmt::format("journal '{}': record {} is damaged; put a backup in its place",
                                    path_, seq));
      }
      RETURN_IF_ERROR_WITH(visit(seq, record), fmt::format("journal '{}', record {}", path_, seq));
    }
    return absl::OkStatus();
  } catch (const SQLite::Exception& error) {
    return ToStatus(error, path_, "reading it");
  }
}

absl::StatusOr<std::string> SqliteJournal::ReadState(const StateKey& key) {
  MutexLock lock(read_mutex_);
  try {
    SQLite::Statement select(reader_->database,
                             "SELECT hash, bytes FROM states WHERE run_id = ? AND step = ?");
    select.bind(1, key.run_id);
    select.bind(2, Signed(key.step));
    if (!select.executeStep()) {
      return NotFound(fmt::format("the journal keeps no state of run '{}' after step {}",
                                  key.run_id, key.step));
    }
    std::string bytes = BlobOf(select.getColumn(1));
    if (Signed(Hash64(bytes)) != select.getColumn(0).getInt64()) {
      return DataLoss(fmt::format(
          "journal '{}': the state of run '{}' after step {} is damaged; put a backup in its "
          "place",
          path_, key.run_id, key.step));
    }
    return bytes;
  } catch (const SQLite::Exception& error) {
    return ToStatus(error, path_, "reading a state");
  }
}

absl::Status SqliteJournal::Backup(const std::string& path) {
  MutexLock lock(read_mutex_);
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) {
    return AlreadyExists(fmt::format("backup '{}' exists already; choose another name", path));
  }
  try {
    SQLite::Statement copy(reader_->database, "VACUUM INTO ?");
    copy.bind(1, path);
    copy.exec();
    return absl::OkStatus();
  } catch (const SQLite::Exception& error) {
    return ToStatus(error, path_, fmt::format("copying it to '{}'", path));
  }
}

}  // namespace neolog::coordinator
