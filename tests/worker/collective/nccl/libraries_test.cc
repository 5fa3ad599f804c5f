#include "worker/collective/nccl/libraries.h"

#include <gmock/gmock.h>

#include <cstring>

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

#ifdef NEOLOG_REAL_NCCL
// What the real library can be asked without a device.
TEST(RealLibraryTest, VersionIdAndErrorStrings) {
  const auto libraries = Load({.nccl = NEOLOG_REAL_NCCL, .cudart = NEOLOG_REAL_CUDART});
  ASSERT_OK(libraries);
  const NcclFunctions& nccl = (*libraries)->nccl;
  EXPECT_GE((*libraries)->version, 21403);
  RecordProperty("version", VersionName((*libraries)->version));
  UniqueId first{}, second{};
  ASSERT_EQ(nccl.get_unique_id(&first), kSuccess);
  ASSERT_EQ(nccl.get_unique_id(&second), kSuccess);
  EXPECT_NE(std::memcmp(&first, &second, sizeof first), 0);
  EXPECT_STREQ(nccl.get_error_string(kSuccess), "no error");
  EXPECT_THAT(nccl.get_error_string(kInProgress), HasSubstr("in progress"));
  EXPECT_THAT(nccl.get_error_string(kRemoteError), HasSubstr("remote process exited"));
  EXPECT_STREQ(nccl.get_last_error(nullptr), "");
  // Without a device, or with one, what it says is a sentence.
  const CudaError error = (*libraries)->cuda.set_device(0);
  EXPECT_STRNE((*libraries)->cuda.get_error_string(error), "");
}
#endif

}  // namespace
}  // namespace neolog::collective::nccl
