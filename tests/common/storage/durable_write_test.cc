#include "common/storage/durable_write.h"

#include <gtest/gtest.h>

#include "common/storage/memory_file_system.h"
#include "common/storage/posix_file_system.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Crash = MemoryFileSystem::Crash;

constexpr std::string_view kOld = "the old content";
constexpr std::string_view kNew = "the new content, which is longer";

TEST(DurableWriteTest, OnTheRealDisk_ReplacesAndLeavesNothingBehind) {
  ScopedDir dir;
  const auto fs = MakePosixFileSystem();
  ASSERT_OK(WriteFileDurably(*fs, dir.File("a"), kOld));
  ASSERT_OK(WriteFileDurably(*fs, dir.File("a"), kNew));
  EXPECT_EQ(*fs->Read(dir.File("a")), kNew);
  EXPECT_THAT(*fs->List(dir.path()), ElementsAre("a"));
}

// The power goes at every point of the procedure, in both ways a disk may lose things. Before it
// returned OK the file is the old or the new one; afterwards it is the new one.
TEST(DurableWriteTest, PowerLossAnywhere_LeavesTheOldOrTheNewFile) {
  int steps = 0;
  {
    MemoryFileSystem fs;
    ASSERT_OK(WriteFileDurably(fs, "/f", kNew));
    steps = fs.operations();
  }
  ASSERT_EQ(steps, 6);  // the six steps of the protocol
  for (const Crash crash : {Crash::kDropUnsynced, Crash::kKeepNamesTearBytes}) {
    for (int fail_at = 1; fail_at <= steps + 1; ++fail_at) {
      SCOPED_TRACE(::testing::Message()
                   << "power loss at step " << fail_at << ", mode " << static_cast<int>(crash));
      MemoryFileSystem fs;
      ASSERT_OK(WriteFileDurably(fs, "/f", kOld));
      fs.FailOperation(fail_at, Internal("power loss"), /*and_all_later=*/true);
      const bool returned_ok = WriteFileDurably(fs, "/f", kNew).ok();
      EXPECT_EQ(returned_ok, fail_at > steps);
      fs.PowerLoss(crash);
      fs.ClearFaults();
      ASSERT_OK_AND_ASSIGN(const std::string found, fs.Read("/f"));
      if (returned_ok) {
        EXPECT_EQ(found, kNew);
      } else {
        EXPECT_TRUE(found == kOld || found == kNew) << found;
      }
      ASSERT_OK(SweepTemporaries(fs, "/"));
      EXPECT_THAT(*fs.List("/"), ElementsAre("f"));
    }
  }
}

TEST(DurableWriteTest, EveryFailingStep_IsReportedAndCleanedUp) {
  for (int fail_at = 1; fail_at <= 6; ++fail_at) {
    SCOPED_TRACE(fail_at);
    MemoryFileSystem fs;
    ASSERT_OK(WriteFileDurably(fs, "/f", kOld));
    fs.FailOperation(fail_at, Internal("planned"));
    EXPECT_THAT(WriteFileDurably(fs, "/f", kNew),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("writing '/f'")));
    EXPECT_EQ(*fs.Read("/f"), fail_at < 6 ? kOld : kNew);
    EXPECT_THAT(*fs.List("/"), ElementsAre("f"));
  }
}

TEST(DurableWriteTest, FullDisk_KeepsTheOldFile) {
  MemoryFileSystem fs;
  ASSERT_OK(WriteFileDurably(fs, "/f", kOld));
  fs.SetCapacity(kOld.size() + 5);
  EXPECT_THAT(WriteFileDurably(fs, "/f", kNew),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("/f")));
  EXPECT_EQ(*fs.Read("/f"), kOld);
  EXPECT_THAT(*fs.List("/"), ElementsAre("f"));
}

TEST(DurableWriteTest, Sweep_TakesTemporariesOnly) {
  MemoryFileSystem fs;
  for (const char* name :
       {"/a.tmp-0123456789abcdef", "/a", "/b.tmp-xyz", "/.tmp-0123456789abcdef"}) {
    ASSERT_OK(fs.Create(name));
  }
  EXPECT_THAT(*SweepTemporaries(fs, "/"), ElementsAre("a.tmp-0123456789abcdef"));
  EXPECT_THAT(*fs.List("/"), ElementsAre(".tmp-0123456789abcdef", "a", "b.tmp-xyz"));
  EXPECT_THAT(*SweepTemporaries(fs, "/"), IsEmpty());
}

}  // namespace
}  // namespace neolog
