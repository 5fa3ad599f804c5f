#include "common/storage/run_directory.h"

#include <gtest/gtest.h>

#include "common/storage/durable_write.h"
#include "common/storage/memory_file_system.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(RunDirectoryTest, BuildsTheNames) {
  const RunDirectory dir("out", "my-run.1", "<cat-toy>");
  EXPECT_EQ(dir.path(), "out/my-run.1");
  EXPECT_EQ(dir.Marker(), "out/my-run.1/run.json");
  EXPECT_EQ(dir.SettingsYaml(), "out/my-run.1/settings.yaml");
  EXPECT_EQ(dir.SettingsJson(), "out/my-run.1/settings.json");
  EXPECT_EQ(dir.LossCsv(), "out/my-run.1/textual_inversion_loss.csv");
  EXPECT_EQ(dir.ValidationCsv(), "out/my-run.1/validation_loss.csv");
  EXPECT_EQ(dir.PartialEmbedding(500, EmbeddingFormat::kA1111),
            "out/my-run.1/embeddings/cat-toy-500.pt");
  EXPECT_EQ(dir.PartialEmbedding(500, EmbeddingFormat::kDiffusers),
            "out/my-run.1/embeddings/cat-toy-500.safetensors");
  EXPECT_EQ(dir.Preview(500, 2), "out/my-run.1/previews/cat-toy-500-2.png");
  EXPECT_EQ(dir.FinalEmbedding(EmbeddingFormat::kA1111), "out/my-run.1/cat-toy.pt");
  EXPECT_EQ(dir.FinalEmbedding(EmbeddingFormat::kDiffusers), "out/my-run.1/cat-toy.safetensors");
}

TEST(RunDirectoryTest, ParsesWhatItBuilds) {
  using K = RunFileKind;
  using F = EmbeddingFormat;
  const struct {
    const char* path;
    RunFile file;
  } kGood[] = {
      {"run.json", {.kind = K::kMarker}},
      {"settings.yaml", {.kind = K::kSettingsYaml}},
      {"settings.json", {.kind = K::kSettingsJson}},
      {"textual_inversion_loss.csv", {.kind = K::kLossCsv}},
      {"validation_loss.csv", {.kind = K::kValidationCsv}},
      {"embeddings/zesko-0.pt",
       {.kind = K::kPartialEmbedding, .stem = "zesko", .step = 0, .format = F::kA1111}},
      {"embeddings/a-5-500.safetensors",
       {.kind = K::kPartialEmbedding, .stem = "a-5", .step = 500, .format = F::kDiffusers}},
      {"embeddings/x-18446744073709551615.pt",
       {.kind = K::kPartialEmbedding, .stem = "x", .step = UINT64_MAX, .format = F::kA1111}},
      {"previews/a-5-500-12.png", {.kind = K::kPreview, .stem = "a-5", .step = 500, .index = 12}},
      {"zesko.pt", {.kind = K::kFinalEmbedding, .stem = "zesko", .format = F::kA1111}},
      {"zesko.png", {.kind = K::kFinalEmbedding, .stem = "zesko", .format = F::kPng}},
      {"embeddings/zesko-5.png",
       {.kind = K::kPartialEmbedding, .stem = "zesko", .step = 5, .format = F::kPng}},
      {"zesko-500.pt", {.kind = K::kFinalEmbedding, .stem = "zesko-500", .format = F::kA1111}},
      {"größe.safetensors", {.kind = K::kFinalEmbedding, .stem = "größe", .format = F::kDiffusers}},
  };
  for (const auto& [path, file] : kGood) {
    const auto parsed = ParseRunFile(path);
    ASSERT_TRUE(parsed.has_value()) << path;
    EXPECT_EQ(*parsed, file) << path;
  }
}

TEST(RunDirectoryTest, RefusesOtherNames) {
  for (const char* path : {"",
                           "run.jso",
                           "Run.json",
                           "settings.json.tmp-0123456789abcdef",
                           ".pt",
                           "zesko.bin",
                           "embeddings",
                           "embeddings/",
                           "embeddings/zesko.pt",
                           "embeddings/-5.pt",
                           "embeddings/zesko-05.pt",
                           "embeddings/zesko-+5.pt",
                           "embeddings/zesko--5.pt.pt",
                           "embeddings/zesko-18446744073709551616.pt",
                           "zesko.webp",
                           "previews/zesko-5.png",
                           "previews/zesko-5-4294967296.png",
                           "previews/zesko-5-0.pt",
                           "previews/-5-0.png",
                           "other/zesko.pt",
                           "embeddings/sub/zesko-5.pt",
                           "../zesko.pt",
                           "/zesko.pt",
                           ".hidden.pt",
                           "zesko.pt.tmp-0123456789abcdef"}) {
    EXPECT_FALSE(ParseRunFile(path).has_value()) << path;
  }
}

TEST(RunDirectoryTest, FileStem_IsSafeOnEverySystem) {
  const struct {
    std::string word, stem;
  } kCases[] = {
      {"zesko", "zesko"},
      {"<cat-toy>", "cat-toy"},
      {"a/b\\c:d", "abcd"},
      {"..", "word"},
      {"", "word"},
      {"<>", "word"},
      {" .x. ", "x"},
      {"größe", "größe"},
      {"a\tb\x7f", "ab"},
      {std::string(150, 'a'), std::string(100, 'a')},
      // A character of two bytes across the limit goes whole.
      {std::string(99, 'a') + "ö", std::string(99, 'a')},
  };
  for (const auto& [word, stem] : kCases) {
    EXPECT_EQ(FileStem(word), stem) << word;
    EXPECT_EQ(FileStem(stem), stem) << "a stem is its own stem";
  }
}

TEST(RunDirectoryTest, IsRunName) {
  for (const std::string& name :
       {std::string("a"), std::string("Zesko-2_b.1"), std::string("_x"), std::string(100, 'a')}) {
    EXPECT_TRUE(IsRunName(name)) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("-a"), std::string("a b"),
        std::string("a/b"), std::string("ö"), std::string(101, 'a')}) {
    EXPECT_FALSE(IsRunName(name)) << name;
  }
}

class ClaimTest : public ::testing::Test {
 protected:
  MemoryFileSystem fs_;
  RunDirectory dir_{"/out", "r", "zesko"};
};

TEST_F(ClaimTest, NewFolder_IsMadeAndMarked) {
  EXPECT_EQ(*RunDirectoryOwner(fs_, dir_), "");
  ASSERT_OK(ClaimRunDirectory(fs_, dir_, "run-1"));
  EXPECT_EQ(*RunDirectoryOwner(fs_, dir_), "run-1");
  EXPECT_THAT(*fs_.List("/out/r"), ElementsAre("embeddings", "previews", "run.json"));
}

TEST_F(ClaimTest, SameRun_ClaimsAgainAndKeepsItsFiles) {
  ASSERT_OK(ClaimRunDirectory(fs_, dir_, "run-1"));
  ASSERT_OK(WriteFileDurably(fs_, dir_.LossCsv(), "step,loss\n"));
  ASSERT_OK(fs_.Create("/out/r/embeddings/x-1.pt.tmp-0123456789abcdef"));
  ASSERT_OK(ClaimRunDirectory(fs_, dir_, "run-1"));
  EXPECT_EQ(*fs_.Read(dir_.LossCsv()), "step,loss\n");
  EXPECT_TRUE(fs_.List("/out/r/embeddings")->empty());
}

TEST_F(ClaimTest, AnotherRunsFolder_IsRefusedWithBothIds) {
  ASSERT_OK(ClaimRunDirectory(fs_, dir_, "run-1"));
  EXPECT_THAT(
      ClaimRunDirectory(fs_, dir_, "run-2"),
      StatusIs(absl::StatusCode::kAlreadyExists, AllOf(HasSubstr("'/out/r'"), HasSubstr("run-1"),
                                                       HasSubstr("run-2"), HasSubstr("log_dir"))));
  EXPECT_EQ(*RunDirectoryOwner(fs_, dir_), "run-1");
}

TEST_F(ClaimTest, FolderWithForeignFiles_IsRefused) {
  ASSERT_OK(fs_.CreateDirectories("/out/r"));
  ASSERT_OK(fs_.Create("/out/r/holiday.jpg"));
  EXPECT_THAT(ClaimRunDirectory(fs_, dir_, "run-1"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("holiday.jpg")));
}

TEST_F(ClaimTest, AFileInTheWay_IsRefused) {
  ASSERT_OK(fs_.CreateDirectories("/out"));
  ASSERT_OK(fs_.Create("/out/r"));
  EXPECT_THAT(ClaimRunDirectory(fs_, dir_, "run-1"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("is a file")));
}

TEST_F(ClaimTest, TornMarker_IsDataLoss) {
  ASSERT_OK(ClaimRunDirectory(fs_, dir_, "run-1"));
  for (const char* bad : {"", "{\"run_id\": \"ru", "[]", "{\"run_id\": 5}"}) {
    ASSERT_OK(fs_.Corrupt(dir_.Marker(), bad));
    EXPECT_THAT(ClaimRunDirectory(fs_, dir_, "run-1"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("run.json")));
  }
}

TEST_F(ClaimTest, DeathAtEveryStep_LeavesAFolderThatTheRunCanClaim) {
  for (int fail_at = 1; fail_at <= 9; ++fail_at) {
    SCOPED_TRACE(fail_at);
    MemoryFileSystem fs;
    fs.FailOperation(fail_at, Internal("power loss"), /*and_all_later=*/true);
    ClaimRunDirectory(fs, dir_, "run-1").IgnoreError();
    fs.PowerLoss(MemoryFileSystem::Crash::kKeepNamesTearBytes);
    fs.ClearFaults();
    ASSERT_OK(ClaimRunDirectory(fs, dir_, "run-1"));
    EXPECT_EQ(*RunDirectoryOwner(fs, dir_), "run-1");
  }
}

}  // namespace
}  // namespace neolog
