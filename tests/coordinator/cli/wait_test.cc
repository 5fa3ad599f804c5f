#include "coordinator/cli/wait.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "tests/support/scoped_dir.h"

namespace neolog::cli {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::WriteFileOrDie;

constexpr absl::Duration kLong = absl::Seconds(30);

TEST(WaitForFileTest, FileThatIsThere_NeedsNoWait) {
  ScopedDir dir;
  WriteFileOrDie(dir.File("a"), "");
  EXPECT_TRUE(WaitForFile(dir.File("a"), absl::ZeroDuration()));
  EXPECT_FALSE(WaitForFile(dir.File("b"), absl::ZeroDuration()));
}

TEST(WaitForFileTest, FileThatIsRenamedIntoPlace_EndsTheWait) {
  ScopedDir dir;
  WriteFileOrDie(dir.File("temporary"), "whole");
  std::thread writer([&] { std::filesystem::rename(dir.File("temporary"), dir.File("a")); });
  EXPECT_TRUE(WaitForFile(dir.File("a"), kLong));
  writer.join();
}

TEST(WaitForFileTest, FolderThatIsRemoved_EndsTheWait) {
  ScopedDir dir;
  std::filesystem::create_directory(dir.File("run"));
  std::thread remover([&] { std::filesystem::remove(dir.File("run")); });
  EXPECT_FALSE(WaitForFile(dir.File("run/a"), kLong));
  remover.join();
  EXPECT_FALSE(WaitForFile(dir.File("none/a"), kLong)) << "there never was one";
}

TEST(PollUntilTest, AsksAtOnceAndUntilItIsTrueOrTooLate) {
  int asked = 0;
  EXPECT_TRUE(PollUntil([&] { return ++asked == 1; }, kLong, kLong))
      << "no pause before the first look";
  EXPECT_TRUE(PollUntil([&] { return ++asked == 4; }, absl::Microseconds(1), kLong));
  EXPECT_EQ(asked, 4);
  EXPECT_FALSE(PollUntil(
      [&] {
        ++asked;
        return false;
      },
      absl::Microseconds(1), absl::ZeroDuration()));
  EXPECT_EQ(asked, 5);
}

}  // namespace
}  // namespace neolog::cli
