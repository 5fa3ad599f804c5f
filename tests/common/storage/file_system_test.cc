// One suite for every FileSystem, and what only the one in memory does.
#include "common/storage/file_system.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "common/storage/memory_file_system.h"
#include "common/storage/posix_file_system.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Implementation {
  std::string name;
  std::function<std::unique_ptr<FileSystem>()> make;
};

class FileSystemTest : public ::testing::TestWithParam<Implementation> {
 protected:
  FileSystemTest() : fs_(GetParam().make()) { EXPECT_OK(fs_->CreateDirectories(dir_.path())); }
  std::string P(std::string_view name) const { return dir_.File(name); }
  void Write(const std::string& path, std::string_view bytes) {
    ASSERT_OK_AND_ASSIGN(const auto file, fs_->Create(path));
    ASSERT_OK(file->Append(bytes));
    ASSERT_OK(file->Sync());
    ASSERT_OK(file->Close());
  }

  ScopedDir dir_;
  std::unique_ptr<FileSystem> fs_;
};

TEST_P(FileSystemTest, WhatWasWritten_IsRead) {
  const std::string bytes("a\0\xff\n", 4);
  Write(P("a"), bytes);
  EXPECT_EQ(*fs_->Read(P("a")), bytes);
  ASSERT_OK_AND_ASSIGN(const FileInfo info, fs_->Stat(P("a")));
  EXPECT_EQ(info.size, 4u);
  EXPECT_FALSE(info.is_directory);
}

TEST_P(FileSystemTest, LargeFile_IsReadWhole) {
  std::string bytes(300'000, 'x');
  bytes[200'000] = 'y';
  Write(P("a"), bytes);
  EXPECT_EQ(*fs_->Read(P("a")), bytes);
}

TEST_P(FileSystemTest, Read_BeyondTheLimit_IsRefusedWithTheSizes) {
  Write(P("a"), "12345");
  EXPECT_EQ(*fs_->Read(P("a"), 5), "12345");
  EXPECT_THAT(fs_->Read(P("a"), 4), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("has 5 bytes, more than the 4")));
}

TEST_P(FileSystemTest, MissingThings_AreNotFoundAndNamed) {
  const auto not_found = StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nothing"));
  EXPECT_THAT(fs_->Read(P("nothing")), not_found);
  EXPECT_THAT(fs_->Stat(P("nothing")), not_found);
  EXPECT_THAT(fs_->Remove(P("nothing")), not_found);
  EXPECT_THAT(fs_->Rename(P("nothing"), P("b")), not_found);
  EXPECT_THAT(fs_->List(P("nothing")), not_found);
  EXPECT_THAT(fs_->SyncDirectory(P("nothing")), not_found);
  EXPECT_THAT(fs_->Create(P("nothing/a")), not_found);
  EXPECT_THAT(fs_->OpenForAppend(P("nothing/a")), not_found);
  EXPECT_FALSE(fs_->Exists(P("nothing")));
}

TEST_P(FileSystemTest, Create_NeverOverwrites) {
  Write(P("a"), "old");
  EXPECT_THAT(fs_->Create(P("a")), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("/a")));
  EXPECT_EQ(*fs_->Read(P("a")), "old");
}

TEST_P(FileSystemTest, OpenForAppend_MakesAndContinues) {
  for (const std::string_view part : {"one ", "two"}) {
    ASSERT_OK_AND_ASSIGN(const auto file, fs_->OpenForAppend(P("log")));
    ASSERT_OK(file->Append(part));
    ASSERT_OK(file->Close());
  }
  EXPECT_EQ(*fs_->Read(P("log")), "one two");
}

TEST_P(FileSystemTest, ClosedFile_RefusesEverything) {
  ASSERT_OK_AND_ASSIGN(const auto file, fs_->Create(P("a")));
  ASSERT_OK(file->Close());
  const auto closed = StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed"));
  EXPECT_THAT(file->Append("x"), closed);
  EXPECT_THAT(file->Sync(), closed);
  EXPECT_THAT(file->Close(), closed);
}

TEST_P(FileSystemTest, Rename_ReplacesTheTarget) {
  Write(P("a"), "new");
  Write(P("b"), "old");
  ASSERT_OK(fs_->Rename(P("a"), P("b")));
  EXPECT_EQ(*fs_->Read(P("b")), "new");
  EXPECT_FALSE(fs_->Exists(P("a")));
}

TEST_P(FileSystemTest, Remove_TakesFilesOnly) {
  Write(P("a"), "x");
  ASSERT_OK(fs_->Remove(P("a")));
  EXPECT_FALSE(fs_->Exists(P("a")));
  ASSERT_OK(fs_->CreateDirectories(P("d")));
  EXPECT_THAT(fs_->Remove(P("d")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/d")));
}

TEST_P(FileSystemTest, CreateDirectories_MakesParentsAndAcceptsExisting) {
  ASSERT_OK(fs_->CreateDirectories(P("x/y/z/")));
  ASSERT_OK(fs_->CreateDirectories(P("x/y/z")));
  ASSERT_OK_AND_ASSIGN(const FileInfo info, fs_->Stat(P("x/y/z")));
  EXPECT_TRUE(info.is_directory);
  Write(P("f"), "");
  EXPECT_THAT(fs_->CreateDirectories(P("f")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/f")));
  EXPECT_FALSE(fs_->CreateDirectories(P("f/g")).ok());
}

TEST_P(FileSystemTest, List_IsSortedAndOneLevelDeep) {
  ASSERT_OK(fs_->CreateDirectories(P("d/deep")));
  Write(P("b"), "");
  Write(P("C"), "");
  Write(P("d/inside"), "");
  EXPECT_THAT(*fs_->List(dir_.path()), ElementsAre("C", "b", "d"));
  EXPECT_THAT(*fs_->List(P("d")), ElementsAre("deep", "inside"));
}

TEST_P(FileSystemTest, ReadingADirectory_IsAPreconditionFailure) {
  EXPECT_THAT(fs_->Read(dir_.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(dir_.path())));
}

TEST_P(FileSystemTest, SyncDirectory_OfAnExistingOne_IsOk) {
  Write(P("a"), "x");
  EXPECT_OK(fs_->SyncDirectory(dir_.path()));
}

INSTANTIATE_TEST_SUITE_P(
    All, FileSystemTest,
    ::testing::Values(Implementation{"Posix", [] { return MakePosixFileSystem(); }},
                      Implementation{"Memory",
                                     [] { return std::make_unique<MemoryFileSystem>(); }}),
    [](const auto& info) { return info.param.name; });

TEST(PathTest, JoinAndDirectory) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(DirectoryOf("a/b/c"), "a/b");
  EXPECT_EQ(DirectoryOf("c"), ".");
  EXPECT_EQ(DirectoryOf("/c"), "/");
}

TEST(PosixFileSystemTest, FullDisk_IsResourceExhausted) {
  const auto fs = MakePosixFileSystem();
  ASSERT_OK_AND_ASSIGN(const auto file, fs->OpenForAppend("/dev/full"));
  EXPECT_THAT(file->Append("x"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("/dev/full")));
}

TEST(MemoryFileSystemTest, FullDisk_TakesWhatFits) {
  MemoryFileSystem fs;
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Create("/a"));
  fs.SetCapacity(3);
  EXPECT_THAT(file->Append("12345"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("/a")));
  EXPECT_EQ(*fs.Read("/a"), "123");
}

TEST(MemoryFileSystemTest, PowerLoss_KeepsOnlyWhatWasSynced) {
  for (const auto crash :
       {MemoryFileSystem::Crash::kDropUnsynced, MemoryFileSystem::Crash::kKeepNamesTearBytes}) {
    MemoryFileSystem fs;
    ASSERT_OK_AND_ASSIGN(const auto kept, fs.Create("/kept"));
    ASSERT_OK(kept->Append("synced"));
    ASSERT_OK(kept->Sync());
    ASSERT_OK(fs.SyncDirectory("/"));
    ASSERT_OK(kept->Append("1234"));
    ASSERT_OK_AND_ASSIGN(const auto lost, fs.Create("/lost"));
    ASSERT_OK(lost->Append("1234"));
    fs.PowerLoss(crash);
    const bool torn = crash == MemoryFileSystem::Crash::kKeepNamesTearBytes;
    EXPECT_EQ(*fs.Read("/kept"), torn ? "synced12" : "synced");
    EXPECT_EQ(fs.Exists("/lost"), torn);
    EXPECT_FALSE(kept->Append("x").ok());
  }
}

TEST(MemoryFileSystemTest, PlannedFailure_HitsTheNthChangingOperation) {
  MemoryFileSystem fs;
  fs.FailOperation(2, Internal("planned"));
  ASSERT_OK_AND_ASSIGN(const auto file, fs.Create("/a"));
  EXPECT_THAT(file->Append("1234"), StatusIs(absl::StatusCode::kInternal, HasSubstr("planned")));
  EXPECT_EQ(*fs.Read("/a"), "12");
  EXPECT_OK(file->Append("x"));
  EXPECT_EQ(fs.operations(), 3);
}

}  // namespace
}  // namespace neolog
