#include "common/checkpoint/hub_cache.h"

#include "tests/common/checkpoint/model_files.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteTextFile;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(HubName, IsOwnerAndName) {
  EXPECT_TRUE(IsHubName("stable-diffusion-v1-5/stable-diffusion-v1-5"));
  for (const char* text : {"model", "a/b/c", "/a", "a/", "../a", "a/..", "a b/c", ""})
    EXPECT_FALSE(IsHubName(text)) << text;
}

TEST(HubCache, Snapshot_IsTheOneOfRefsMain) {
  const ScopedDir dir;
  WriteTextFile(dir.File("models--me--tiny/refs/main"), "abc123\n");
  WriteTextFile(dir.File("models--me--tiny/snapshots/abc123/model_index.json"), "{}");
  WriteTextFile(dir.File("models--me--tiny/snapshots/fff/model_index.json"), "{}");
  const auto found = FindInHubCache("me/tiny", dir.path());
  ASSERT_OK(found);
  EXPECT_EQ(*found, dir.File("models--me--tiny/snapshots/abc123"));
}

TEST(HubCache, Nothing_SaysHowToGetIt) {
  const ScopedDir dir;
  EXPECT_THAT(FindInHubCache("me/tiny", dir.path()),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("hf download me/tiny"), HasSubstr(dir.path()))));
  WriteTextFile(dir.File("models--me--tiny/refs/main"), "../../../..");
  EXPECT_THAT(FindInHubCache("me/tiny", dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("which is not there")));
  WriteTextFile(dir.File("models--me--tiny/refs/main"), "abc");
  EXPECT_THAT(FindInHubCache("me/tiny", dir.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("which is not there")));
}

TEST(HubCache, Checkpoint_IsFoundByItsName) {
  const ScopedDir dir;
  WriteTextFile(dir.File("models--me--tiny/refs/main"), "abc123");
  testing::WriteNarrowFolder(ModelFamily::kSd1, testing::NarrowModel(ModelFamily::kSd1),
                             dir.File("models--me--tiny/snapshots/abc123"));
  const auto found = OpenCheckpoint("me/tiny", {.hub_cache = dir.path()});
  ASSERT_OK(found);
  EXPECT_EQ(found->path, dir.File("models--me--tiny/snapshots/abc123"));
}

}  // namespace
}  // namespace neolog
