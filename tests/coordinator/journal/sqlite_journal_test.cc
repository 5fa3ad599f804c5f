#include "coordinator/journal/sqlite_journal.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

// What only the file on disk can get wrong.

namespace neolog::coordinator {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class SqliteJournalTest : public ::testing::Test {
 protected:
  void Fill(int records) {
    auto journal = SqliteJournal::Open(path_);
    ASSERT_OK(journal);
    for (int i = 0; i < records; ++i) {
      JournalBatch batch;
      v1::JournalRecord record;
      record.mutable_run_submitted()->set_run_id("run-" + std::to_string(i));
      batch.records.push_back(record);
      batch.put_states.push_back({{"run", static_cast<uint64_t>(i)}, std::string(500, 's')});
      ASSERT_OK((*journal)->Append(batch));
    }
  }
  void Execute(const std::string& sql) {
    SQLite::Database database(path_, SQLite::OPEN_READWRITE);
    database.exec(sql);
  }
  /// The error of opening and replaying.
  absl::Status Load() {
    auto journal = SqliteJournal::Open(path_);
    RETURN_IF_ERROR(journal.status());
    return (*journal)->Replay([](uint64_t, const v1::JournalRecord&) { return absl::OkStatus(); });
  }
  ScopedDir dir_;
  const std::string path_ = dir_.File("journal.db");
};

TEST_F(SqliteJournalTest, Reopened_HasEverything) {
  Fill(10);
  auto journal = SqliteJournal::Open(path_);
  ASSERT_OK(journal);
  int records = 0;
  ASSERT_OK((*journal)->Replay([&](uint64_t, const v1::JournalRecord&) {
    ++records;
    return absl::OkStatus();
  }));
  EXPECT_EQ(records, 10);
  EXPECT_EQ((*journal)->ReadState({"run", 9})->size(), 500u);
}

TEST_F(SqliteJournalTest, File_IsTheUsersAlone) {
  Fill(1);
  struct stat info;
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(SqliteJournalTest, OtherSchemaVersion_IsRefusedByName) {
  Fill(1);
  Execute("PRAGMA user_version = 2");
  EXPECT_THAT(SqliteJournal::Open(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("schema has version 2")));
}

TEST_F(SqliteJournalTest, DatabaseOfAnotherProgram_IsRefused) {
  SQLite::Database(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec("CREATE TABLE t(x)");
  EXPECT_THAT(SqliteJournal::Open(path_),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("another program")));
}

TEST_F(SqliteJournalTest, NoDatabaseAtAll_IsRefused) {
  WriteFileOrDie(path_, std::string(5000, 'x'));
  EXPECT_THAT(SqliteJournal::Open(path_),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("put a backup in its place")));
}

TEST_F(SqliteJournalTest, MissingRecord_IsNoticed) {
  Fill(5);
  Execute("DELETE FROM events WHERE seq = 3");
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("record 3 is missing")));
}

TEST_F(SqliteJournalTest, ChangedRecordAndState_AreNoticed) {
  Fill(5);
  Execute("UPDATE events SET record = x'0a00' WHERE seq = 4");
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("record 4 is damaged")));
  Execute("UPDATE states SET bytes = x'00' WHERE step = 2");
  auto journal = SqliteJournal::Open(path_);
  ASSERT_OK(journal);
  EXPECT_THAT((*journal)->ReadState({"run", 2}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is damaged")));
}

TEST_F(SqliteJournalTest, FlippedBits_AreNeverTakenForOtherRecords) {
  Fill(40);
  const std::string whole = ReadFileOrDie(path_);
  int noticed = 0;
  for (size_t offset = 100; offset < whole.size(); offset += 997) {
    std::string damaged = whole;
    damaged[offset] = static_cast<char>(damaged[offset] ^ 0x40);
    WriteFileOrDie(path_, damaged);
    auto journal = SqliteJournal::Open(path_);
    if (!journal.ok()) {
      ++noticed;
      continue;
    }
    int expected = 0;
    const absl::Status status = (*journal)->Replay([&](uint64_t, const v1::JournalRecord& record) {
      EXPECT_EQ(record.run_submitted().run_id(), "run-" + std::to_string(expected++))
          << "offset " << offset;
      return absl::OkStatus();
    });
    if (!status.ok()) ++noticed;
    if (status.ok()) {
      EXPECT_EQ(expected, 40) << "offset " << offset;
    }
  }
  EXPECT_GT(noticed, 0);
}

TEST_F(SqliteJournalTest, TruncatedFile_IsRefusedOrWhole) {
  Fill(40);
  const std::string whole = ReadFileOrDie(path_);
  for (size_t size = 4096; size < whole.size(); size += 4096) {
    WriteFileOrDie(path_, whole.substr(0, size));
    EXPECT_FALSE(Load().ok()) << size;
  }
}

TEST_F(SqliteJournalTest, Backup_IsACopyAsOfNow) {
  Fill(3);
  auto journal = SqliteJournal::Open(path_);
  ASSERT_OK(journal);
  const std::string copy = dir_.File("backup.db");
  ASSERT_OK((*journal)->Backup(copy));
  EXPECT_THAT((*journal)->Backup(copy),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("choose another name")));
  JournalBatch batch;
  batch.records.emplace_back().mutable_run_submitted()->set_run_id("later");
  ASSERT_OK((*journal)->Append(batch));
  auto opened = SqliteJournal::Open(copy);
  ASSERT_OK(opened);
  int records = 0;
  ASSERT_OK((*opened)->Replay([&](uint64_t, const v1::JournalRecord&) {
    ++records;
    return absl::OkStatus();
  }));
  EXPECT_EQ(records, 3);
}

}  // namespace
}  // namespace neolog::coordinator
