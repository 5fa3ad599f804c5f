// The annotated files under configs/ are read without an error, and say what they seem to say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/config.h"
#include "common/storage/posix_file_system.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"

namespace neolog::config {
namespace {

using ::testing::ElementsAre;

TEST(SampleConfigsTest, EveryFile_IsValid) {
  const auto fs = MakePosixFileSystem();
  ASSERT_OK_AND_ASSIGN(const auto names, fs->List(neolog::testing::SourcePath("configs")));
  int files = 0;
  for (const std::string& name : names) {
    if (!name.ends_with(".yaml")) continue;
    ++files;
    const ConfigResult result = LoadRunSpec({.fs = fs.get(),
                                             .file = neolog::testing::SourcePath("configs/" + name),
                                             .check_files = false});
    EXPECT_TRUE(result.ok()) << FormatErrors(result.errors, result.text, false);
  }
  EXPECT_GE(files, 2);
}

TEST(SampleConfigsTest, ObjectFile_ShowsEverySection) {
  const auto fs = MakePosixFileSystem();
  const ConfigResult result =
      LoadRunSpec({.fs = fs.get(),
                   .file = neolog::testing::SourcePath("configs/object.yaml"),
                   .check_files = false});
  EXPECT_EQ(result.spec.word(0).vectors(), 4u);
  EXPECT_EQ(result.spec.training().learning_rate(), "0.005:1000, 0.002:2000, 0.0005");
  EXPECT_THAT(result.spec.preview().prompts(), ElementsAre("a photo of zesko", "zesko on a beach"));
  for (const char* key : {"model.path", "word.name", "data.images", "text.long_prompts",
                          "training.steps", "validation.every_steps", "preview.every_steps",
                          "checkpoint.log_dir", "resources.workers"}) {
    EXPECT_EQ(result.origins.at(key).kind, Origin::Kind::kFile) << key;
  }
}

}  // namespace
}  // namespace neolog::config
