#include "common/base/process.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "common/base/subprocess.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

bool Readable(int fd) {
  pollfd watched{fd, POLLIN, 0};
  return poll(&watched, 1, 0) == 1;
}

TEST(ProcessTest, FindProcess_TellsLivingFromDeadAndFromAnotherWithTheSameNumber) {
  SpawnOptions options;
  options.argv = {"sleep", "1000"};
  ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(options));
  const auto found = FindProcess(child->pid());
  ASSERT_TRUE(found.has_value());
  EXPECT_GT(found->start_ticks, 0u);
  EXPECT_TRUE(IsAlive(*found));
  EXPECT_FALSE(IsAlive({found->pid, found->start_ticks + 1}));
  EXPECT_THAT(SignalProcess({found->pid, found->start_ticks + 1}, SIGKILL),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("is gone")));
  ASSERT_OK(SignalProcess(*found, SIGKILL));
  ASSERT_OK(child->Wait(absl::Seconds(30)));
  EXPECT_FALSE(IsAlive(*found));
}

TEST(LockFileTest, SecondHolder_IsRefusedWithThePid_UntilTheFirstIsGone) {
  ScopedDir dir;
  const std::string path = dir.File("x.lock");
  EXPECT_FALSE(LockFile::Holder(path).has_value());
  ASSERT_OK_AND_ASSIGN(auto lock, LockFile::Acquire(path));
  EXPECT_EQ(LockFile::Holder(path), getpid());
  EXPECT_THAT(LockFile::Acquire(path),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(std::to_string(getpid()))));
  lock.reset();
  EXPECT_FALSE(LockFile::Holder(path).has_value());
  EXPECT_OK(LockFile::Acquire(path));
}

TEST(LockFileTest, UnwritablePlace_IsNamed) {
  EXPECT_THAT(LockFile::Acquire("/nowhere/x.lock"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.lock")));
}

TEST(SignalPipeTest, Signals_ArriveAsDataInOrder) {
  ASSERT_OK_AND_ASSIGN(auto signals, SignalPipe::Create({SIGINT, SIGTERM}));
  EXPECT_FALSE(Readable(signals->fd()));
  EXPECT_THAT(SignalPipe::Create({SIGINT}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("already")));
  raise(SIGTERM);
  raise(SIGINT);
  EXPECT_TRUE(Readable(signals->fd()));
  EXPECT_THAT(signals->Take(), ElementsAre(SIGTERM, SIGINT));
  EXPECT_THAT(signals->Take(), ElementsAre());
  EXPECT_FALSE(Readable(signals->fd()));
}

TEST(SignalPipeTest, Destructor_RestoresTheHandlers) {
  const auto old = signal(SIGUSR1, SIG_IGN);
  {
    ASSERT_OK_AND_ASSIGN(auto signals, SignalPipe::Create({SIGUSR1}));
    raise(SIGUSR1);
    EXPECT_THAT(signals->Take(), ElementsAre(SIGUSR1));
  }
  raise(SIGUSR1);  // ignored again: would end the test otherwise
  EXPECT_EQ(signal(SIGUSR1, old), SIG_IGN);
}

TEST(WakeFdTest, Wake_MakesReadableUntilCleared) {
  WakeFd wake;
  EXPECT_FALSE(Readable(wake.fd()));
  wake.Wake();
  wake.Wake();
  EXPECT_TRUE(Readable(wake.fd()));
  wake.Clear();
  EXPECT_FALSE(Readable(wake.fd()));
}

TEST(AvailableMemoryTest, IsWhatTheMachineHas_OrLess) {
  EXPECT_GT(AvailableMemory(), int64_t{64} << 20);
  EXPECT_LE(AvailableMemory(),
            static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE));
}

}  // namespace
}  // namespace neolog
