#include "common/base/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "common/base/process.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(30);

SpawnOptions Shell(const std::string& script) {
  SpawnOptions options;
  options.argv = {"sh", "-c", script};
  return options;
}

struct ExitCase {
  const char* name;
  const char* script;
  const char* text;
};

class ExitStatusTest : public ::testing::TestWithParam<ExitCase> {};

TEST_P(ExitStatusTest, Process_Ends_IsDecoded) {
  ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(Shell(GetParam().script)));
  ASSERT_OK_AND_ASSIGN(const ExitStatus exit, child->Wait(kLong));
  EXPECT_EQ(exit.ToString(), GetParam().text);
  EXPECT_EQ(exit.success(), std::string(GetParam().text) == "exit code 0");
}

INSTANTIATE_TEST_SUITE_P(All, ExitStatusTest,
                         ::testing::Values(ExitCase{"Zero", "exit 0", "exit code 0"},
                                           ExitCase{"Three", "exit 3", "exit code 3"},
                                           ExitCase{"Killed", "kill -KILL $$", "signal SIGKILL"},
                                           ExitCase{"Aborted", "kill -ABRT $$", "signal SIGABRT"}),
                         [](const auto& info) { return info.param.name; });

TEST(SubprocessTest, OutputEnvironmentAndDirectory_ArePassed) {
  ScopedDir dir;
  SpawnOptions options =
      Shell("printf '%s|' \"$NEOLOG_A\" \"${HOME-unset}\" \"$(pwd)\"; cat; echo wrong >&2");
  options.env = {{"NEOLOG_A", "one two"}};
  options.unset_env = {"HOME"};
  options.cwd = dir.path();
  ASSERT_OK_AND_ASSIGN(const CommandResult result, RunCommand(options, kLong));
  // cat ends at once: standard input is /dev/null.
  EXPECT_EQ(result.out, "one two|unset|" + dir.path() + "|");
  EXPECT_EQ(result.err, "wrong\n");
}

TEST(SubprocessTest, EnvironmentName_ReplacesTheParents) {
  setenv("NEOLOG_SUBPROCESS_TEST", "old", 1);
  SpawnOptions options =
      Shell("env | grep -c NEOLOG_SUBPROCESS_TEST; echo $NEOLOG_SUBPROCESS_TEST");
  options.env = {{"NEOLOG_SUBPROCESS_TEST", "new"}};
  ASSERT_OK_AND_ASSIGN(const CommandResult result, RunCommand(options, kLong));
  unsetenv("NEOLOG_SUBPROCESS_TEST");
  EXPECT_EQ(result.out, "1\nnew\n");
}

TEST(SubprocessTest, FileOutput_IsAppendedAndPrivate) {
  ScopedDir dir;
  for (int i = 0; i < 2; ++i) {
    SpawnOptions options = Shell("echo out; echo err >&2");
    options.stdout_to = OutputTo::File(dir.File("log"));
    options.stderr_to = OutputTo::File(dir.File("log"));
    ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(options));
    ASSERT_OK(child->Wait(kLong));
  }
  EXPECT_EQ(ReadFileOrDie(dir.File("log")), "out\nerr\nout\nerr\n");
  struct stat info = {};
  ASSERT_EQ(stat(dir.File("log").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(SubprocessTest, StandardInput_FromFile) {
  ScopedDir dir;
  WriteFileOrDie(dir.File("in"), "hello");
  SpawnOptions options;
  options.argv = {"cat"};
  options.stdin_file = dir.File("in");
  ASSERT_OK_AND_ASSIGN(const CommandResult result, RunCommand(options, kLong));
  EXPECT_EQ(result.out, "hello");
}

TEST(SubprocessTest, LargeOutputOnBothStreams_DoesNotBlock) {
  ASSERT_OK_AND_ASSIGN(
      const CommandResult result,
      RunCommand(Shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"), kLong));
  EXPECT_EQ(result.out.size(), 300000u);
  EXPECT_EQ(result.err.size(), 300000u);
}

TEST(SubprocessTest, Descriptors_AreNotInherited) {
  const int leaked = open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as a careless library would
  ASSERT_GE(leaked, 3);
  ASSERT_OK_AND_ASSIGN(
      const CommandResult result,
      RunCommand(Shell("test -e /proc/$$/fd/" + std::to_string(leaked) + " && echo leaked"),
                 kLong));
  close(leaked);
  EXPECT_EQ(result.out, "");
}

TEST(SubprocessTest, IgnoredSignals_AreDefaultInTheChild) {
  const auto old = signal(SIGTERM, SIG_IGN);
  auto child = Subprocess::Spawn(Shell("exec sleep 1000"));
  signal(SIGTERM, old);
  ASSERT_OK(child);
  ASSERT_OK_AND_ASSIGN(const ExitStatus exit, (*child)->Terminate(kLong));
  EXPECT_EQ(exit.ToString(), "signal SIGTERM");
}

TEST(SubprocessTest, ChildThatIgnoresSigterm_IsKilled) {
  SpawnOptions options = Shell("trap '' TERM; echo ready; while :; do sleep 1000; done");
  ScopedDir dir;
  ASSERT_EQ(mkfifo(dir.File("ready").c_str(), 0600), 0);
  options.stdout_to = OutputTo::File(dir.File("ready"));
  // A fifo opened for reading and writing never blocks; reading waits for the child's line.
  const int fifo = open(dir.File("ready").c_str(), O_RDWR);
  options.new_process_group = true;
  ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(options));
  char line[6];
  ASSERT_EQ(read(fifo, line, sizeof(line)), 6);
  close(fifo);
  EXPECT_EQ(getpgid(child->pid()), child->pid());
  const pid_t group = child->pid();
  ASSERT_OK_AND_ASSIGN(const ExitStatus exit, child->Terminate(absl::Milliseconds(50)));
  EXPECT_EQ(exit.ToString(), "signal SIGKILL");
  kill(-group, SIGKILL);  // the sleep it started
}

TEST(SubprocessTest, WaitWithDeadline_SaysThatItStillRuns) {
  ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(Shell("exec sleep 1000")));
  EXPECT_FALSE(child->Poll().has_value());
  EXPECT_THAT(child->Wait(absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("still runs")));
}

TEST(SubprocessTest, Destructor_KillsAndReaps_UnlessReleased) {
  pid_t killed, kept;
  {
    ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(Shell("exec sleep 1000")));
    ASSERT_OK_AND_ASSIGN(auto released, Subprocess::Spawn(Shell("exec sleep 1000")));
    killed = child->pid();
    kept = released->pid();
    released->Release();
  }
  EXPECT_EQ(kill(killed, 0), -1);
  EXPECT_TRUE(FindProcess(kept).has_value());
  kill(kept, SIGKILL);
}

TEST(SubprocessTest, NewSession_LeavesTheTerminal) {
  SpawnOptions options = Shell("exec sleep 1000");
  options.new_session = true;
  ASSERT_OK_AND_ASSIGN(auto child, Subprocess::Spawn(options));
  EXPECT_EQ(getsid(child->pid()), child->pid());
}

TEST(SubprocessTest, MissingProgram_IsNamed) {
  SpawnOptions options;
  options.argv = {"/nowhere/neolog-nothing"};
  EXPECT_THAT(Subprocess::Spawn(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/neolog-nothing")));
  EXPECT_THAT(Subprocess::Spawn({}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no program")));
}

TEST(SubprocessTest, SlowCommand_IsStoppedAtItsDeadline) {
  EXPECT_THAT(RunCommand(Shell("exec sleep 1000"), absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("running 'sh'"))));
}

}  // namespace
}  // namespace neolog
