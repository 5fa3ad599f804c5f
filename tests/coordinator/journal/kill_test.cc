#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "common/base/process.h"
#include "common/base/subprocess.h"
#include "coordinator/journal/sqlite_journal.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

// A child process that appends and is killed at a chosen append, before or behind it: the reopened
// journal holds what was acknowledged, and nothing that was not asked for.

namespace neolog::coordinator {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;

JournalBatch BatchOf(int i) {
  JournalBatch batch;
  for (int k = 0; k < 3; ++k) {
    batch.records.emplace_back().mutable_run_submitted()->set_run_id(std::to_string(i) + "." +
                                                                     std::to_string(k));
  }
  batch.put_states.push_back(
      {{"run", static_cast<uint64_t>(i)}, std::string(20000, static_cast<char>('a' + i % 26))});
  if (i > 0) batch.drop_states.push_back({"run", static_cast<uint64_t>(i - 1)});
  return batch;
}

/// The child: appends from where the journal ends, says so on standard output, and kills itself at
/// its n-th append.
[[noreturn]] void RunChild(const std::string& path, int first, int die_at) {
  auto journal = SqliteJournal::Open(path);
  if (!journal.ok()) _exit(3);
  for (int i = 0;; ++i) {
    if (i == die_at) ::kill(::getpid(), SIGKILL);
    if (!(*journal)->Append(BatchOf(first + i)).ok()) _exit(4);
    const std::string line = std::to_string(first + i) + "\n";
    if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) _exit(5);
  }
}

TEST(JournalKill, AtEveryAppend_ReopenedJournalIsTheAcknowledgedPrefix) {
  const ScopedDir dir;
  const std::string path = dir.File("journal.db");
  int next = 0;
  for (int round = 0; round < 25; ++round) {
    // Even rounds: the child dies between two appends. Odd ones: it is killed from outside,
    // anywhere.
    const int die_at = round % 2 == 0 ? round / 2 % 4 : 1000000;
    auto child = Subprocess::Spawn(
        {.argv = {SelfPath(), "--child", path, std::to_string(next), std::to_string(die_at)},
         .stdout_to = OutputTo::File(dir.File("acks"))});
    ASSERT_OK(child);
    if (round % 2 == 1) {
      while (ReadFileOrDie(dir.File("acks")).size() < 4u) ::usleep(200);
      ASSERT_OK((*child)->Signal(SIGKILL));
    }
    auto exit = (*child)->Wait(absl::Seconds(30));
    ASSERT_OK(exit);
    ASSERT_EQ(exit->signal, SIGKILL);
    int acknowledged = next;
    const std::string acks = ReadFileOrDie(dir.File("acks"));
    for (const char c : acks) acknowledged += c == '\n' ? 1 : 0;
    ::unlink(dir.File("acks").c_str());

    auto journal = SqliteJournal::Open(path);
    ASSERT_OK(journal);
    int records = 0;
    ASSERT_OK((*journal)->Replay([&](uint64_t, const v1::JournalRecord& record) {
      EXPECT_EQ(record.run_submitted().run_id(),
                std::to_string(records / 3) + "." + std::to_string(records % 3));
      ++records;
      return absl::OkStatus();
    }));
    ASSERT_EQ(records % 3, 0) << "a batch is whole or not there";
    const int held = records / 3;
    EXPECT_GE(held, acknowledged);
    EXPECT_LE(held, acknowledged + 1) << "at most the one whose answer was lost";
    if (held > 0) {
      const auto state = (*journal)->ReadState({"run", static_cast<uint64_t>(held - 1)});
      ASSERT_OK(state);
      EXPECT_EQ(*state, BatchOf(held - 1).put_states[0].second);
    }
    next = held;
  }
  EXPECT_GT(next, 15);
}

}  // namespace
}  // namespace neolog::coordinator

int main(int argc, char** argv) {
  if (argc == 5 && std::strcmp(argv[1], "--child") == 0) {
    neolog::coordinator::RunChild(argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
