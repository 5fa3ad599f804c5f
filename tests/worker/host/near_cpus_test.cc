#include "worker/host/near_cpus.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <thread>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::host {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Cpus = std::vector<int>;

TEST(ParseCpuListTest, ReadsWhatTheKernelWrites_AndNothingElse) {
  EXPECT_THAT(ParseCpuList("0-3,8").value_or(Cpus{-1}), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(ParseCpuList("7").value_or(Cpus{-1}), ElementsAre(7));
  EXPECT_THAT(ParseCpuList("").value_or(Cpus{-1}), IsEmpty());
  for (const char* bad :
       {"a", "1-", "-3", "3-1", "1,", ",1", "1-2-3", "99999999999", "0-9999", "1 2"})
    EXPECT_THAT(ParseCpuList(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad)));
}

TEST(CpusNearTest, AsksTheKernel) {
  const testing::ScopedDir sys;
  std::filesystem::create_directories(sys.File("bus/pci/devices/0000:3b:00.0"));
  testing::WriteFileOrDie(sys.File("bus/pci/devices/0000:3b:00.0/local_cpulist"), "0-1,4-5\n");
  EXPECT_THAT(CpusNear("0000:3B:00.0", sys.path()).value_or(Cpus{-1}), ElementsAre(0, 1, 4, 5));
  EXPECT_THAT(CpusNear("0000:5e:00.0", sys.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("near 0000:5e:00.0")));
}

TEST(ShareOfCpusTest, DevicesNearTheSameCpus_DivideThem) {
  const Cpus left = {0, 1, 2, 3, 8, 9, 10, 11}, right = {4, 5, 6, 7};
  const std::vector<Cpus> near = {left, right, left};
  const Cpus all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_THAT(ShareOfCpus(near, 0, all, 1), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ShareOfCpus(near, 1, all, 1), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(ShareOfCpus(near, 2, all, 1), ElementsAre(8, 9, 10, 11));
  // Only what this process may use.
  EXPECT_THAT(ShareOfCpus(near, 0, Cpus{0, 1, 9, 10}, 1), ElementsAre(0, 1));
}

TEST(ShareOfCpusTest, TooFewOrUnknown_IsNoChoice) {
  const Cpus all = {0, 1, 2, 3};
  EXPECT_THAT(ShareOfCpus(std::vector<Cpus>{all, all}, 0, all, 3), IsEmpty());
  EXPECT_THAT(ShareOfCpus(std::vector<Cpus>{{}, all}, 0, all, 1), IsEmpty());
  EXPECT_THAT(ShareOfCpus(std::vector<Cpus>{all}, 0, Cpus{}, 1), IsEmpty());
}

TEST(KeepToCpusTest, HoldsForThisThreadAndThoseItStarts) {
  std::thread([] {  // the test's own thread stays free
    const Cpus before = AllowedCpus();
    ASSERT_FALSE(before.empty());
    ASSERT_OK(KeepToCpus(std::span(before).first(1)));
    EXPECT_EQ(AllowedCpus(), Cpus{before[0]});
    std::thread([&] { EXPECT_EQ(AllowedCpus(), Cpus{before[0]}); }).join();
  })
      .join();
  EXPECT_THAT(KeepToCpus({}), StatusIs(absl::StatusCode::kInternal, HasSubstr("the kernel")));
}

}  // namespace
}  // namespace neolog::host
