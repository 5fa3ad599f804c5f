#include "coordinator/projection/projector.h"

#include <gtest/gtest.h>

#include <numeric>

#include "common/base/hash.h"
#include "common/embedding/embedding.h"
#include "common/storage/memory_blob_store.h"
#include "common/storage/memory_file_system.h"
#include "coordinator/journal/memory_journal.h"
#include "coordinator/projection/embedding_files.h"
#include "coordinator/projection/loss_csv.h"
#include "tests/coordinator/core/fixtures.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;
using testing::MakeCommit;
using testing::MakeSpec;
using testing::MakeState;

class ProjectorTest : public ::testing::Test {
 protected:
  ProjectorTest() {
    spec_ = MakeSpec("zesko", 30);
    spec_.mutable_checkpoint()->set_every_steps(10);
    spec_.mutable_checkpoint()->clear_formats();
    spec_.mutable_checkpoint()->add_formats("diffusers");
    spec_.mutable_checkpoint()->add_formats("a1111");
  }
  void SetUp() override { Start(); }
  void Start() {
    projector_.reset();
    auto projector = Projector::Create(
        {.fs = &fs_, .blobs = &blobs_, .journal = &journal_, .write_embedding = MakeEmbeddingFile});
    ASSERT_OK(projector);
    projector_ = *std::move(projector);
  }
  void Write(const JournalBatch& batch, bool seen = true) {
    ASSERT_OK(journal_.Append(batch));
    if (seen) projector_->OnDurable(batch);
  }
  JournalBatch Submitted() {
    JournalBatch batch;
    v1::RunSubmitted& submitted = *batch.records.emplace_back().mutable_run_submitted();
    submitted.set_run_id("zesko-1");
    *submitted.mutable_spec() = spec_;
    return batch;
  }
  JournalBatch Committed(uint64_t first, uint64_t last) {
    JournalBatch batch;
    v1::StepsCommitted& committed = *batch.records.emplace_back().mutable_steps_committed();
    committed.set_run_id("zesko-1");
    const v1::CommitReport report = MakeCommit("t", 1, "zesko-1", first, last);
    *committed.mutable_steps() = report.steps();
    batch.put_states.push_back({{"zesko-1", last}, report.state()});
    return batch;
  }
  JournalBatch Moved(v1::RunState state) {
    JournalBatch batch;
    v1::RunStateChanged& change = *batch.records.emplace_back().mutable_run_state_changed();
    change.set_run_id("zesko-1");
    change.set_state(state);
    return batch;
  }
  static JournalBatch Validated(uint64_t step, double loss) {
    JournalBatch batch;
    v1::ArtifactReport& artifact =
        *batch.records.emplace_back().mutable_artifact_made()->mutable_artifact();
    artifact.set_run_id("zesko-1");
    artifact.set_kind(v1::ArtifactReport::KIND_VALIDATION);
    artifact.set_step(step);
    artifact.set_value(loss);
    return batch;
  }
  std::string Read(const std::string& name) {
    projector_->Flush();
    auto bytes = fs_.Read("/out/zesko/" + name);
    return bytes.ok() ? *bytes : "(" + bytes.status().ToString() + ")";
  }
  static std::string Csv(uint64_t steps) {
    std::string csv = "step,epoch,epoch_step,loss,learn_rate,gradient_norm\n";
    const v1::CommitReport report = MakeCommit("t", 1, "r", 1, steps);
    for (const auto& step : report.steps()) csv += LossCsvLine(MakeSpec(), step);
    return csv;
  }
  /// Everything in the run's folder.
  std::map<std::string, std::string> Tree() {
    if (projector_ != nullptr) projector_->Flush();
    std::map<std::string, std::string> tree;
    for (const std::string folder : {"", "embeddings/", "previews/"}) {
      const auto names = fs_.List("/out/zesko/" + folder);
      if (!names.ok()) continue;
      for (const std::string& name : *names) {
        const auto bytes = fs_.Read("/out/zesko/" + folder + name);
        if (bytes.ok()) tree[folder + name] = *bytes;
      }
    }
    return tree;
  }

  MemoryFileSystem fs_;
  MemoryBlobStore blobs_;
  MemoryJournal journal_;
  v1::RunSpec spec_;
  std::unique_ptr<Projector> projector_;
};

TEST(LossCsv, Line_HasA1111sColumnsFirst) {
  v1::RunSpec spec = MakeSpec();
  spec.mutable_training()->set_batch_size(2);
  for (int i = 0; i < 5; ++i)
    *spec.mutable_data()->add_samples() = spec.data().samples(0);  // 6 pictures: 3 steps an epoch
  v1::StepRecord record;
  record.set_step(5);
  record.set_loss(0.125f);
  record.set_learning_rate(0.005f);
  record.set_gradient_norm(2.5f);
  EXPECT_EQ(LossCsvHeader(), "step,epoch,epoch_step,loss,learn_rate,gradient_norm\n");
  EXPECT_EQ(LossCsvLine(spec, record), "5,1,1,0.1250000,0.005,2.5\n");
}

/// A block whose value i is first + i.
v1::RowBlock Block(const char* word, uint32_t vectors, uint32_t width, float first) {
  std::vector<float> values(size_t{vectors} * width);
  std::iota(values.begin(), values.end(), first);
  v1::RowBlock block;
  block.set_word(word);
  block.set_vectors(vectors);
  block.set_width(width);
  block.set_rows(std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  return block;
}

TEST(EmbeddingFile, TwoEncoders_AreTwoBlocksInOrder) {
  v1::TrainState state;
  state.set_step(7);
  *state.add_blocks() = Block("zesko", 2, 3, 1);
  *state.add_blocks() = Block("zesko", 2, 4, 101);
  for (const char* format : {"sdxl", "onetrainer"}) {
    ASSERT_OK_AND_ASSIGN(const std::string bytes, MakeEmbeddingFile(MakeSpec(), state, format));
    ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(bytes, "w.safetensors"));
    EXPECT_EQ(read.format, EmbeddingFormat::kSdxl);
    EXPECT_EQ(read.Widths(), (std::vector<int64_t>{3, 4}));
    EXPECT_EQ(read.Rows(),
              (std::vector<float>{1, 2, 3, 4, 5, 6, 101, 102, 103, 104, 105, 106, 107, 108}));
  }
  for (const char* format : {"a1111", "png", "diffusers", "kohya"}) {
    EXPECT_THAT(MakeEmbeddingFile(MakeSpec(), state, format),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("use sdxl")));
  }
  *state.mutable_blocks(1) = Block("zesko", 3, 4, 101);
  EXPECT_THAT(
      MakeEmbeddingFile(MakeSpec(), state, "sdxl"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 vectors of 'zesko' and 3")));
  state.clear_blocks();
  EXPECT_THAT(MakeEmbeddingFile(MakeSpec(), state, "sdxl"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no rows")));
}

TEST_F(ProjectorTest, EveryFormat_HasItsFile) {
  spec_.mutable_model()->set_path("/models/sd15.ckpt");
  spec_.mutable_model()->set_short_hash("0123456789");
  spec_.mutable_checkpoint()->clear_formats();
  for (const char* format : {"a1111", "png", "kohya"})
    spec_.mutable_checkpoint()->add_formats(format);
  Write(Submitted());
  Write(Committed(1, 10));
  Write(Moved(v1::RUN_STATE_STOPPED));
  for (const std::string name : {"embeddings/zesko-10", "zesko"}) {
    const std::pair<const char*, EmbeddingFormat> kFiles[] = {
        {".pt", EmbeddingFormat::kA1111},
        {".png", EmbeddingFormat::kPng},
        {".safetensors", EmbeddingFormat::kKohya}};
    for (const auto& [extension, format] : kFiles) {
      ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(Read(name + extension), name));
      EXPECT_EQ(read.format, format);
      if (format != EmbeddingFormat::kKohya) {  // has no place for it
        EXPECT_EQ(read.checkpoint_hash, "0123456789");
        EXPECT_EQ(read.checkpoint_name, "sd15");
      }
      EXPECT_FLOAT_EQ(read.blocks[0].values[0], 12.078431f);
    }
  }
}

TEST_F(ProjectorTest, Run_LeavesLossesSettingsAndEmbeddings) {
  Write(Submitted());
  Write(Committed(1, 4));
  Write(Committed(5, 10));
  EXPECT_EQ(Read("textual_inversion_loss.csv"), Csv(10));
  EXPECT_THAT(Read("settings.yaml"), HasSubstr("steps: 30"));
  EXPECT_THAT(Read("settings.json"), HasSubstr("\"zesko\""));
  for (const char* extension : {".safetensors", ".pt"}) {
    const auto partial =
        ReadEmbedding(Read(std::string("embeddings/zesko-10") + extension), "zesko.pt");
    ASSERT_OK(partial) << extension;
    EXPECT_EQ(partial->vectors, 1);
    EXPECT_EQ(partial->blocks[0].width, 4);
    EXPECT_FLOAT_EQ(partial->blocks[0].values[0], 12.078431f) << "bytes 'AAAA' as a float";
  }
  EXPECT_THAT(Read("zesko.pt"), HasSubstr("NOT_FOUND"));
  Write(Committed(11, 30));
  Write(Moved(v1::RUN_STATE_COMPLETED));
  EXPECT_OK(ReadEmbedding(Read("zesko.pt"), "zesko.pt"));
  EXPECT_EQ(Read("textual_inversion_loss.csv"), Csv(30));
}

TEST_F(ProjectorTest, KilledAnywhere_TheNextStartMakesTheSameFolder) {
  std::vector<JournalBatch> history = {Submitted(),
                                       Committed(1, 4),
                                       Committed(5, 12),
                                       Validated(12, 0.5),
                                       Committed(13, 20),
                                       Committed(21, 30),
                                       Validated(30, 0.25),
                                       Validated(20, 0.375),
                                       Moved(v1::RUN_STATE_RUNNING),
                                       Moved(v1::RUN_STATE_COMPLETED)};
  for (const JournalBatch& batch : history) Write(batch);
  const auto whole = Tree();
  ASSERT_GE(whole.size(), 10u);
  ASSERT_EQ(whole.count("validation_loss.csv"), 1u);
  // Dies after `seen` batches were projected and the others only journaled; then the power goes as
  // well.
  for (size_t seen = 0; seen <= history.size(); ++seen) {
    MemoryFileSystem other;
    for (const auto crash :
         {MemoryFileSystem::Crash::kDropUnsynced, MemoryFileSystem::Crash::kKeepNamesTearBytes}) {
      MemoryJournal part;
      auto projector = Projector::Create(
          {.fs = &other, .blobs = &blobs_, .journal = &part, .write_embedding = MakeEmbeddingFile});
      ASSERT_OK(projector);
      for (size_t i = 0; i < seen; ++i) {
        ASSERT_OK(part.Append(history[i]));
        (*projector)->OnDurable(history[i]);
      }
      (*projector)->Flush();
      projector->reset();
      other.PowerLoss(crash);
      // The run is only completed in the journal when the last batch is there.
      auto again = Projector::Create(
          {.fs = &other, .blobs = &blobs_, .journal = &part, .write_embedding = MakeEmbeddingFile});
      ASSERT_OK(again);
      for (size_t i = seen; i < history.size(); ++i) {
        ASSERT_OK(part.Append(history[i]));
        (*again)->OnDurable(history[i]);
      }
      (*again)->Flush();
      for (const auto& [name, bytes] : whole) {
        const auto found = other.Read("/out/zesko/" + name);
        ASSERT_OK(found) << name << " after " << seen;
        EXPECT_EQ(*found, bytes) << name << " after " << seen;
      }
    }
  }
}

TEST_F(ProjectorTest, FolderOfAnotherRun_IsRefusedAtSubmission) {
  EXPECT_EQ(*projector_->CheckFree(spec_), "/out/zesko");
  Write(Submitted());
  projector_->Flush();
  EXPECT_THAT(projector_->CheckFree(spec_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("holds run 'zesko-1'")));
  v1::RunSpec relative = spec_;
  relative.mutable_checkpoint()->set_log_dir("out");
  EXPECT_THAT(projector_->CheckFree(relative),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("absolute")));
}

TEST_F(ProjectorTest, Preview_IsCopiedFromItsBlob) {
  Write(Submitted());
  const std::string digest = *blobs_.Put("a picture");
  JournalBatch batch;
  v1::ArtifactReport& artifact =
      *batch.records.emplace_back().mutable_artifact_made()->mutable_artifact();
  artifact.set_run_id("zesko-1");
  artifact.set_kind(v1::ArtifactReport::KIND_PREVIEW);
  artifact.set_step(20);
  artifact.set_index(1);
  artifact.set_blob_digest(digest);
  Write(batch);
  EXPECT_EQ(Read("previews/zesko-20-1.png"), "a picture");
}

TEST_F(ProjectorTest, ValidationLosses_HaveAFileInOrderOfTheirSteps) {
  Write(Submitted());
  Write(Committed(1, 10));
  EXPECT_THAT(Read("validation_loss.csv"), HasSubstr("NOT_FOUND")) << "the run asks for none";
  Write(Validated(10, 0.125));
  Write(Committed(11, 30));
  Write(Validated(30, 0.0625));
  Write(Validated(20, 0.1));  // of a worker that was cut off
  // One picture and a batch of four: an epoch is one step.
  EXPECT_EQ(Read("validation_loss.csv"),
            "step,epoch,epoch_step,validation_loss\n10,9,0,0.1250000\n20,19,0,0.1000000\n30,29,0,0."
            "0625000\n");
  EXPECT_EQ(Read("textual_inversion_loss.csv"), Csv(30)) << "has its own file";
}

TEST_F(ProjectorTest, ValidationLossOnAFullDisk_IsWrittenWithTheNextCommit) {
  Write(Submitted());
  projector_->Flush();
  fs_.SetCapacity(0);
  Write(Validated(10, 0.125));
  projector_->Flush();
  fs_.ClearFaults();
  Write(Committed(1, 10));
  EXPECT_THAT(Read("validation_loss.csv"), HasSubstr("10,9,0,0.1250000"));
}

TEST_F(ProjectorTest, FolderRemovedAfterTheEnd_StaysAway) {
  Write(Submitted());
  Write(Committed(1, 30));
  Write(Moved(v1::RUN_STATE_RUNNING));
  Write(Moved(v1::RUN_STATE_COMPLETED));
  projector_->Flush();
  projector_.reset();
  for (const auto& [name, bytes] : Tree()) ASSERT_OK(fs_.Remove("/out/zesko/" + name));
  Start();
  EXPECT_THAT(Read("zesko.pt"), HasSubstr("NOT_FOUND"));
}

TEST_F(ProjectorTest, FullDisk_NeverStopsAndIsMadeGoodWhenThereIsRoom) {
  Write(Submitted());
  projector_->Flush();
  fs_.SetCapacity(0);
  Write(Committed(1, 4));
  projector_->Flush();
  fs_.ClearFaults();
  Write(Committed(5, 10));
  EXPECT_EQ(Read("textual_inversion_loss.csv"), Csv(10));
}

}  // namespace
}  // namespace neolog::coordinator
