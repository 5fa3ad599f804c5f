#include "common/storage/model_fingerprint.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::HasSubstr;

class ModelFingerprintTest : public ::testing::Test {
 protected:
  ModelFingerprintTest() {
    Write("model_index.json", "{}");
    Write("unet/config.json", "{}");
    Write("unet/weights.safetensors", "weights");
  }
  void Write(const std::string& name, const std::string& content) {
    const std::filesystem::path path = dir_.File("model/" + name);
    std::filesystem::create_directories(path.parent_path());
    WriteFileOrDie(path.string(), content);
  }
  std::string Fingerprint() {
    std::vector<ModelFile> files;
    for (const char* name : {"model_index.json", "unet/config.json", "unet/weights.safetensors"})
      files.push_back({name, dir_.File(std::string("model/") + name)});
    const auto found = ModelFingerprint(files, cache_);
    EXPECT_OK(found);
    return found.value_or("");
  }

  ScopedDir dir_;
  const std::string cache_ = dir_.File("fingerprints.json");
};

TEST_F(ModelFingerprintTest, FollowsTheBytes_NotThePathAndNotTheCache) {
  const std::string first = Fingerprint();
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(Fingerprint(), first) << "from the cache";
  WriteFileOrDie(cache_, "not json");
  EXPECT_EQ(Fingerprint(), first);
  std::filesystem::rename(dir_.File("model"), dir_.File("moved"));
  std::filesystem::create_directory_symlink(dir_.File("moved"), dir_.File("model"));
  EXPECT_EQ(Fingerprint(), first);
  Write("unet/config.json", "{ }");
  EXPECT_NE(Fingerprint(), first);
}

TEST_F(ModelFingerprintTest, KnownFiles_AreNotReadAgain) {
  Fingerprint();
  const std::string cached = ReadFileOrDie(cache_);
  const std::string digest = cached.substr(cached.find("sha256") + 9, 64);
  std::string forged = cached;
  forged.replace(cached.find(digest), 64, std::string(64, '0'));
  const std::string first = Fingerprint();
  WriteFileOrDie(cache_, forged);
  EXPECT_NE(Fingerprint(), first) << "the forged digest was believed: nothing was hashed";
}

TEST_F(ModelFingerprintTest, MissingFile_IsNamed) {
  EXPECT_THAT(ModelFingerprint({{"model_index.json", dir_.File("none/model_index.json")}}, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none/model_index.json")));
}

}  // namespace
}  // namespace neolog
