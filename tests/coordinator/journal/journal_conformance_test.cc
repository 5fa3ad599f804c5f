#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "coordinator/journal/journal.h"
#include "coordinator/journal/memory_journal.h"
#include "coordinator/journal/sqlite_journal.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

// What every journal must do.

namespace neolog::coordinator {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Kind {
  std::string name;
  std::function<std::unique_ptr<Journal>(const ScopedDir&)> make;
};

class JournalTest : public ::testing::TestWithParam<Kind> {
 protected:
  static v1::JournalRecord Record(const std::string& run) {
    v1::JournalRecord record;
    record.mutable_run_submitted()->set_run_id(run);
    return record;
  }
  std::vector<std::string> Runs() {
    std::vector<std::string> runs;
    uint64_t expected = 1;
    EXPECT_OK(journal_->Replay([&](uint64_t sequence, const v1::JournalRecord& record) {
      EXPECT_EQ(sequence, expected++);
      runs.push_back(record.run_submitted().run_id());
      return absl::OkStatus();
    }));
    return runs;
  }
  ScopedDir dir_;
  std::unique_ptr<Journal> journal_ = GetParam().make(dir_);
};

TEST_P(JournalTest, Records_ComeBackInOrder) {
  ASSERT_OK(journal_->Append({.records = {Record("a"), Record("b")}}));
  ASSERT_OK(journal_->Append({.records = {Record("c")}}));
  EXPECT_THAT(Runs(), ElementsAre("a", "b", "c"));
}

TEST_P(JournalTest, EmptyBatch_WritesNothing) {
  ASSERT_OK(journal_->Append({}));
  EXPECT_THAT(Runs(), ElementsAre());
}

TEST_P(JournalTest, States_AreKeptReplacedAndDropped) {
  const std::string zeros("\0\0x\0", 4);
  ASSERT_OK(
      journal_->Append({.put_states = {{{"a", 1}, zeros}, {{"b", 1}, "other"}, {{"a", 2}, ""}}}));
  EXPECT_EQ(*journal_->ReadState({"a", 1}), zeros);
  EXPECT_EQ(*journal_->ReadState({"b", 1}), "other");
  EXPECT_EQ(*journal_->ReadState({"a", 2}), "");
  ASSERT_OK(journal_->Append(
      {.put_states = {{{"b", 1}, "newer"}}, .drop_states = {{"a", 1}, {"nobody", 3}}}));
  EXPECT_THAT(journal_->ReadState({"a", 1}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("'a' after step 1")));
  EXPECT_EQ(*journal_->ReadState({"b", 1}), "newer");
}

TEST_P(JournalTest, ReplayStops_AtTheVisitorsFirstError) {
  ASSERT_OK(journal_->Append({.records = {Record("a"), Record("b")}}));
  int calls = 0;
  EXPECT_THAT(journal_->Replay([&](uint64_t, const v1::JournalRecord&) {
    ++calls;
    return DataLoss("no");
  }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("record 1")));
  EXPECT_EQ(calls, 1);
}

TEST_P(JournalTest, LargeStatesAndManyRecords_RoundTrip) {
  const std::string large(3 << 20, 'x');
  JournalBatch batch;
  for (int i = 0; i < 1000; ++i) batch.records.push_back(Record("r" + std::to_string(i)));
  batch.put_states.push_back({{"r", 5}, large});
  ASSERT_OK(journal_->Append(batch));
  EXPECT_EQ(Runs().size(), 1000u);
  EXPECT_EQ(*journal_->ReadState({"r", 5}), large);
}

INSTANTIATE_TEST_SUITE_P(
    Journals, JournalTest,
    ::testing::Values(Kind{"Memory",
                           [](const ScopedDir&) { return std::make_unique<MemoryJournal>(); }},
                      Kind{"Sqlite",
                           [](const ScopedDir& dir) -> std::unique_ptr<Journal> {
                             auto journal = SqliteJournal::Open(dir.File("journal.db"));
                             EXPECT_OK(journal);
                             return *std::move(journal);
                           }}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace neolog::coordinator
