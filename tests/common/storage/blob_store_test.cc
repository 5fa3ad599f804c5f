// One suite for every BlobStore, and what only the one on disk does.
#include "common/storage/blob_store.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>

#include "common/base/hash.h"
#include "common/storage/file_blob_store.h"
#include "common/storage/memory_blob_store.h"
#include "common/storage/memory_file_system.h"
#include "common/storage/posix_file_system.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A store, with the ways a test may harm it.
class Fixture {
 public:
  virtual ~Fixture() = default;
  virtual BlobStore& store() = 0;
  virtual void Corrupt(const std::string& digest, std::string_view bytes) = 0;
  virtual void SetCapacity(uint64_t bytes) = 0;
};

class MemoryFixture : public Fixture {
 public:
  BlobStore& store() override { return store_; }
  void Corrupt(const std::string& digest, std::string_view bytes) override {
    ASSERT_OK(store_.Corrupt(digest, bytes));
  }
  void SetCapacity(uint64_t bytes) override { store_.SetCapacity(bytes); }

 private:
  MemoryBlobStore store_;
};

class FileFixture : public Fixture {
 public:
  FileFixture() : store_(std::move(FileBlobStore::Create(&fs_, "/blobs")).value()) {}
  BlobStore& store() override { return *store_; }
  void Corrupt(const std::string& digest, std::string_view bytes) override {
    ASSERT_OK(fs_.Corrupt(store_->PathOf(digest), bytes));
  }
  void SetCapacity(uint64_t bytes) override { fs_.SetCapacity(bytes); }

 private:
  MemoryFileSystem fs_;
  std::unique_ptr<FileBlobStore> store_;
};

struct Implementation {
  std::string name;
  std::function<std::unique_ptr<Fixture>()> make;
};

class BlobStoreTest : public ::testing::TestWithParam<Implementation> {
 protected:
  std::unique_ptr<Fixture> fixture_ = GetParam().make();
  BlobStore& store_ = fixture_->store();
};

TEST_P(BlobStoreTest, Put_GivesTheDigestAndGetTheBytes) {
  EXPECT_EQ(*store_.Put("abc"), kAbc);
  EXPECT_EQ(*store_.Get(kAbc), "abc");
}

TEST_P(BlobStoreTest, EmptyAndBinaryBlobs_ComeBack) {
  for (const std::string& bytes : {std::string(), std::string("\0\xff\0", 3)}) {
    ASSERT_OK_AND_ASSIGN(const std::string digest, store_.Put(bytes));
    EXPECT_EQ(*store_.Get(digest), bytes);
  }
}

TEST_P(BlobStoreTest, Put_Twice_IsOneBlob) {
  ASSERT_OK(store_.Put("abc"));
  EXPECT_EQ(*store_.Put("abc"), kAbc);
  EXPECT_EQ(*store_.Get(kAbc), "abc");
}

TEST_P(BlobStoreTest, Has_AnswersInOrder) {
  ASSERT_OK(store_.Put("abc"));
  EXPECT_THAT(*store_.Has({Sha256Hex("other"), kAbc}), ElementsAre(false, true));
  EXPECT_THAT(*store_.Has({}), IsEmpty());
}

TEST_P(BlobStoreTest, Get_OfWhatIsNotStored_IsNotFound) {
  EXPECT_THAT(store_.Get(kAbc), StatusIs(absl::StatusCode::kNotFound, HasSubstr(kAbc)));
}

TEST_P(BlobStoreTest, NamesThatAreNoDigests_AreRefused) {
  std::string upper(kAbc);
  upper[0] = 'B';
  for (const std::string& name : {std::string(), std::string("../../etc/passwd"), upper,
                                  kAbc + std::string("0"), std::string(64, '/')}) {
    EXPECT_THAT(store_.Get(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("digest")))
        << name;
    EXPECT_THAT(store_.Has({name}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("digest")))
        << name;
  }
}

TEST_P(BlobStoreTest, CorruptBlob_IsDataLossUntilItIsPutAgain) {
  ASSERT_OK(store_.Put("abc"));
  for (const std::string_view bad : {"abd", "ab", "", "abcd"}) {
    fixture_->Corrupt(kAbc, bad);
    EXPECT_THAT(store_.Get(kAbc), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(kAbc))) << bad;
    ASSERT_OK(store_.Put("abc"));
    EXPECT_EQ(*store_.Get(kAbc), "abc");
  }
}

TEST_P(BlobStoreTest, NoRoom_IsResourceExhaustedAndStoresNothing) {
  ASSERT_OK(store_.Put("abc"));
  fixture_->SetCapacity(10);
  const std::string big(100, 'x');
  EXPECT_THAT(store_.Put(big), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("")));
  EXPECT_THAT(*store_.Has({Sha256Hex(big)}), ElementsAre(false));
  EXPECT_EQ(*store_.Get(kAbc), "abc");
}

TEST_P(BlobStoreTest, ManyThreads_PutAndGetTheSameBlobs) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const std::string bytes = "blob " + std::to_string(i % 10);
        const auto digest = store_.Put(bytes);
        ASSERT_OK(digest);
        EXPECT_EQ(*store_.Get(*digest), bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

INSTANTIATE_TEST_SUITE_P(
    All, BlobStoreTest,
    ::testing::Values(Implementation{"Memory", [] { return std::make_unique<MemoryFixture>(); }},
                      Implementation{"File", [] { return std::make_unique<FileFixture>(); }}),
    [](const auto& info) { return info.param.name; });

TEST(FileBlobStoreTest, Layout_IsTwoDigitsThenTheDigest) {
  ScopedDir dir;
  const auto fs = MakePosixFileSystem();
  ASSERT_OK_AND_ASSIGN(const auto store, FileBlobStore::Create(fs.get(), dir.File("blobs")));
  ASSERT_OK(store->Put("abc"));
  EXPECT_EQ(neolog::testing::ReadFileOrDie(dir.File("blobs/ba/") + kAbc), "abc");
  EXPECT_EQ(store->PathOf(kAbc), dir.File("blobs/ba/") + kAbc);
}

TEST(FileBlobStoreTest, DataLoss_NamesTheFile) {
  MemoryFileSystem fs;
  ASSERT_OK_AND_ASSIGN(const auto store, FileBlobStore::Create(&fs, "/blobs"));
  ASSERT_OK(store->Put("abc"));
  ASSERT_OK(fs.Corrupt(store->PathOf(kAbc), "xyz"));
  EXPECT_THAT(store->Get(kAbc),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(store->PathOf(kAbc))));
}

TEST(FileBlobStoreTest, PowerLossAtEveryStep_LosesNoBlobAndTearsNone) {
  for (const auto crash :
       {MemoryFileSystem::Crash::kDropUnsynced, MemoryFileSystem::Crash::kKeepNamesTearBytes}) {
    for (int fail_at = 1; fail_at <= 8; ++fail_at) {
      SCOPED_TRACE(fail_at);
      MemoryFileSystem fs;
      ASSERT_OK_AND_ASSIGN(auto store, FileBlobStore::Create(&fs, "/blobs"));
      fs.FailOperation(fail_at, Internal("power loss"), /*and_all_later=*/true);
      const bool stored = store->Put("abc").ok();
      EXPECT_EQ(stored, fail_at > 7);  // one new directory and the six steps
      fs.PowerLoss(crash);
      fs.ClearFaults();
      ASSERT_OK_AND_ASSIGN(store, FileBlobStore::Create(&fs, "/blobs"));
      if (fs.Exists("/blobs/ba")) {
        ASSERT_OK_AND_ASSIGN(const auto names, fs.List("/blobs/ba"));
        for (const std::string& name : names)
          EXPECT_EQ(name, kAbc);  // the torn temporary was swept
      }
      const auto found = store->Get(kAbc);
      if (stored || found.ok()) {
        EXPECT_EQ(*found, "abc");
      } else {
        EXPECT_THAT(found, StatusIs(absl::StatusCode::kNotFound, HasSubstr(kAbc)));
      }
    }
  }
}

}  // namespace
}  // namespace neolog
