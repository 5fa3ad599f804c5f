#include "common/rpc/target.h"

#include <gmock/gmock.h>

#include "common/rpc/version_check.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

struct GoodTarget {
  const char* text;
  const char* written;
  bool loopback;
};

class ParseTargetTest : public ::testing::TestWithParam<GoodTarget> {};

TEST_P(ParseTargetTest, ParsesAndWritesBack) {
  ASSERT_OK_AND_ASSIGN(const Target target, ParseTarget(GetParam().text));
  EXPECT_EQ(target.ToString(), GetParam().written);
  EXPECT_EQ(IsLoopback(target), GetParam().loopback);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ParseTargetTest,
    ::testing::Values(GoodTarget{"unix:/run/a.sock", "unix:/run/a.sock", true},
                      GoodTarget{"unix:///run/a.sock", "unix:/run/a.sock", true},
                      GoodTarget{"unix:a.sock", "unix:a.sock", true},
                      GoodTarget{"127.0.0.1:0", "127.0.0.1:0", true},
                      GoodTarget{"127.8.9.1:7000", "127.8.9.1:7000", true},
                      GoodTarget{"localhost:7000", "localhost:7000", true},
                      GoodTarget{"[::1]:7000", "[::1]:7000", true},
                      GoodTarget{"0.0.0.0:7000", "0.0.0.0:7000", false},
                      GoodTarget{"[::]:7000", "[::]:7000", false},
                      GoodTarget{"10.0.0.1:7000", "10.0.0.1:7000", false},
                      GoodTarget{"127.example.org:65535", "127.example.org:65535", false}));

struct BadTarget {
  const char* text;
  const char* says;
};

class ParseTargetErrorTest : public ::testing::TestWithParam<BadTarget> {};

TEST_P(ParseTargetErrorTest, NamesWhatIsWrong) {
  EXPECT_THAT(ParseTarget(GetParam().text),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().says)));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ParseTargetErrorTest,
    ::testing::Values(BadTarget{"", "port is missing"}, BadTarget{"unix:", "path is missing"},
                      BadTarget{"localhost", "port is missing"},
                      BadTarget{":70", "host is missing"}, BadTarget{"a:b", "not a number"},
                      BadTarget{"a:", "not a number"}, BadTarget{"a:65536", "not a number"},
                      BadTarget{"a:7x", "not a number"}, BadTarget{"::1:70", "brackets"},
                      BadTarget{"[::1:70", "']'"}, BadTarget{"http://a:70", "brackets"},
                      BadTarget{"a/b:70", "'/'"}));

TEST(ParseTargetTest, SocketPathTooLong_SaysTheLimit) {
  EXPECT_OK(ParseTarget("unix:/" + std::string(106, 'x')));
  EXPECT_THAT(ParseTarget("unix:/" + std::string(107, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("107")));
}

TEST(VersionCheckTest, OnlyMajorAndMinorCount) {
  EXPECT_OK(CheckVersion("0.1.0", "0.1.7", "the coordinator"));
  EXPECT_THAT(CheckVersion("0.1.0", "0.2.0", "the coordinator"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("the coordinator is version 0.2.0")));
  EXPECT_THAT(CheckVersion("0.11.0", "0.1.0", "w"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("0.11.0")));
  EXPECT_THAT(CheckVersion("0.1.0", "", "w"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("major.minor")));
  EXPECT_THAT(CheckVersion("0.1.0", "0.x.1", "w"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0.x.1")));
}

}  // namespace
}  // namespace neolog
