#include "worker/collective/nccl/libraries.h"

#include <gmock/gmock.h>

#include "tests/worker/collective/nccl/fake_library.h"

namespace neolog::collective::nccl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(LibrariesTest, FakeLibrary_IsLoadedWithItsVersion) {
  const FakeLibrary fake;
  EXPECT_EQ(fake.libraries()->version, kBuiltForNccl);
}

TEST(LibrariesTest, MissingLibrary_IsNotFound_WithWhatToDo) {
  EXPECT_THAT(
      Load({.nccl = "/no/such/libnccl.so.2", .cudart = NEOLOG_FAKE_NCCL}),
      testing::StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("NCCL cannot be loaded"),
                                                           HasSubstr("/no/such/libnccl.so.2"),
                                                           HasSubstr("install-deps.sh --cuda"))));
  EXPECT_THAT(Load({.nccl = NEOLOG_FAKE_NCCL, .cudart = "/no/such/libcudart.so.13"}),
              testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("the CUDA runtime")));
}

TEST(LibrariesTest, LibraryWithoutTheCalls_IsNotFound_NamingTheFirst) {
  EXPECT_THAT(
      Load({.nccl = "libm.so.6", .cudart = NEOLOG_FAKE_NCCL}),
      testing::StatusIs(absl::StatusCode::kNotFound, HasSubstr("libm.so.6 has no ncclGetVersion")));
}

TEST(LibrariesTest, LibraryOfARefusedVersion_IsFailedPrecondition) {
  const FakeLibrary fake;
  fake.SetScript("version=22805");
  EXPECT_THAT(Load({.nccl = NEOLOG_FAKE_NCCL, .cudart = NEOLOG_FAKE_NCCL}),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                AllOf(HasSubstr("NCCL 2.28.5"), HasSubstr("use 2.28.9"))));
}

TEST(LibrariesTest, CheckVersion_RefusesWhatIsTooOldOrKnownToHang) {
  struct Case {
    int version;
    bool good;
    const char* name;
  };
  for (const Case& c :
       {Case{2708, false, "2.7.8"}, Case{21402, false, "2.14.2"}, Case{21403, true, "2.14.3"},
        Case{22802, true, "2.28.2"}, Case{22803, false, "2.28.3"}, Case{22808, false, "2.28.8"},
        Case{22809, true, "2.28.9"}, Case{23102, true, "2.31.2"}}) {
    EXPECT_EQ(CheckVersion(c.version).ok(), c.good) << c.version;
    EXPECT_EQ(VersionName(c.version), c.name);
    if (!c.good) {
      EXPECT_THAT(CheckVersion(c.version),
                  testing::StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(c.name)));
    }
  }
}

}  // namespace
}  // namespace neolog::collective::nccl
