#include "common/storage/model_fingerprint.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "common/storage/file_hashes.h"
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

TEST_F(ModelFingerprintTest, CacheOfOtherShape_OnlyCostsTime) {
  const std::string first = Fingerprint();
  const std::string cached = ReadFileOrDie(cache_);
  for (const std::string digest : {"5", "null", "[]", "\"short\""}) {
    std::string odd = cached;
    odd.replace(odd.find("\"sha256\":") + 9, 66, digest);
    WriteFileOrDie(cache_, odd);
    EXPECT_EQ(Fingerprint(), first) << digest;
  }
}

// Two processes that hash at the same time: the later write keeps what the earlier one found.
TEST_F(ModelFingerprintTest, WhatAnotherWritesMeanwhile_IsKept) {
  {
    FileHashes slow(cache_);
    ASSERT_OK(slow.Sha256Of(dir_.File("model/model_index.json")));
    FileHashes quick(cache_);
    ASSERT_OK(quick.Sha256Of(dir_.File("model/unet/weights.safetensors")));
  }
  const std::string cached = ReadFileOrDie(cache_);
  EXPECT_THAT(cached, HasSubstr("model_index.json"));
  EXPECT_THAT(cached, HasSubstr("weights.safetensors"));
}

TEST_F(ModelFingerprintTest, PathThatIsNoUtf8_IsHashed) {
  WriteFileOrDie(dir_.File("m\xfcll.ckpt"), "x");
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(ModelFingerprint({{"model", dir_.File("m\xfcll.ckpt")}}, cache_));
  }
}

TEST_F(ModelFingerprintTest, MissingFile_IsNamed) {
  EXPECT_THAT(ModelFingerprint({{"model_index.json", dir_.File("none/model_index.json")}}, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none/model_index.json")));
}

// The expected digits are those of Python's hashlib over the same bytes.
TEST(HashesAsA1111Test, AreThoseOfTheWebUi) {
  const ScopedDir dir;
  std::string bytes(0x120000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 % 251);
  WriteFileOrDie(dir.File("model.safetensors"), bytes);
  const std::string cache = dir.File("cache.json");
  for (const char* from : {"the file", "the cache"}) {
    SCOPED_TRACE(from);
    ASSERT_OK_AND_ASSIGN(const ModelHashes hashes,
                         HashesAsA1111(dir.File("model.safetensors"), cache));
    EXPECT_EQ(hashes.sha256, "f1404ccc3037f9e7174218dce6e5677a3ef731a1935848606c94d2e50dc246d7");
    EXPECT_EQ(hashes.short_hash, "f1404ccc30");
    EXPECT_EQ(hashes.old_hash, "b45bed65");
  }
  WriteFileOrDie(dir.File("small.ckpt"), "small");
  ASSERT_OK_AND_ASSIGN(const ModelHashes small, HashesAsA1111(dir.File("small.ckpt"), ""));
  EXPECT_EQ(small.old_hash, "e3b0c442") << "of nothing";
  EXPECT_THAT(HashesAsA1111(dir.File("none"), ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

}  // namespace
}  // namespace neolog
