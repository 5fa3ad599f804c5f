#include "tests/worker/train/demo_pack.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/checkpoint/checkpoint.h"
#include "common/storage/model_fingerprint.h"
#include "common/text/prompts.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "worker/train/pack_trainer.h"

namespace neolog::train::testing {
namespace {

void SetLatents(session::Trainer& trainer, const std::vector<std::string>& keys) {
  static auto* const encoded = new std::map<std::string, std::string>;
  for (const std::string& key : keys) {
    if (!encoded->contains(key)) {
      const auto bytes = trainer.EncodeLatent(key);
      EXPECT_OK(bytes);
      encoded->emplace(key, bytes.value_or(""));
    }
    EXPECT_OK(trainer.SetLatent(key, encoded->at(key)));
  }
}

}  // namespace

v1::RunSpec DemoSpec(const std::string& name, const std::string& object, MemoryBlobStore& blobs) {
  v1::RunSpec spec;
  spec.set_name(name);
  spec.mutable_model()->set_path(neolog::testing::SourcePath("configs/demo/model"));
  spec.mutable_model()->set_precision("fp32");
  static const std::string fingerprint =
      ModelFingerprint(OpenCheckpoint(spec.model().path(), {}).value().files, "").value_or("");
  spec.mutable_model()->set_fingerprint(fingerprint);
  v1::WordSpec* word = spec.add_word();
  word->set_name(object);
  word->set_vectors(1);
  word->set_init_text("thing");
  for (int i = 1; i <= 6; ++i) {
    const std::string file = std::to_string(i) + ".png";
    v1::Sample* sample = spec.mutable_data()->add_samples();
    const auto digest = blobs.Put(neolog::testing::ReadFileOrDie(
        neolog::testing::SourcePath("configs/demo/pictures/" + object + "/" + file)));
    EXPECT_OK(digest);
    sample->set_image_digest(digest.value_or(""));
    sample->set_file_name(file);
  }
  for (const std::string& text : ObjectTemplates()) spec.mutable_data()->add_templates(text);
  v1::TrainingSpec* training = spec.mutable_training();
  training->set_steps(350);
  training->set_batch_size(4);
  training->set_gradient_accumulation(1);
  training->set_microbatch(2);
  training->set_learning_rate("0.03");
  training->set_schedule("cosine");
  training->set_warmup_steps(10);
  training->set_final_factor(0.1);
  training->set_seed(7);
  training->set_beta1(0.9);
  training->set_beta2(0.999);
  training->set_epsilon(1e-8);
  spec.mutable_validation()->set_draws_per_image(4);
  spec.mutable_resources()->set_threads_per_worker(1);
  return spec;
}

v1::Assignment AssignmentOf(const std::vector<v1::RunSpec>& specs) {
  v1::Assignment assignment;
  assignment.set_team_id("pack");
  for (const v1::RunSpec& spec : specs) {
    v1::RunAssignment* run = assignment.add_runs();
    run->set_run_id(spec.name());
    *run->mutable_spec() = spec;
  }
  return assignment;
}

std::unique_ptr<session::Trainer> NewTrainer(const v1::Assignment& assignment,
                                             MemoryBlobStore& blobs) {
  auto trainer = CreatePackTrainer({.blobs = &blobs});
  EXPECT_OK(trainer);
  EXPECT_OK((*trainer)->Prepare(assignment));
  return *std::move(trainer);
}

absl::StatusOr<std::string> Compute(session::Trainer& trainer, session::MicrobatchRange range) {
  SetLatents(trainer, trainer.MissingLatents(range));
  return trainer.ComputeMicrobatches(range);
}

absl::StatusOr<session::Trainer::Artifact> MakeArtifact(session::Trainer& trainer, size_t run,
                                                        uint32_t index) {
  SetLatents(trainer, trainer.MissingLatentsOfArtifact(run, index));
  return trainer.MakeArtifact(run, index);
}

std::vector<session::RunStep> StepAs(session::Trainer& trainer,
                                     const std::vector<uint32_t>& counts) {
  std::string payloads;
  std::vector<float> sum;
  uint32_t first = 0;
  for (const uint32_t count : counts) {
    const session::MicrobatchRange range{first, count};
    const auto payload = Compute(trainer, range);
    EXPECT_OK(payload);
    EXPECT_EQ(payload.value_or("").size(), trainer.PayloadSize(range));
    payloads += payload.value_or("");
    if (trainer.SumsPayloads()) {
      const std::vector<float> share = trainer.SumPayload(payload.value_or(""), range).value();
      sum.resize(share.size());
      for (size_t i = 0; i < share.size(); ++i) sum[i] += share[i];
    }
    first += count;
  }
  EXPECT_EQ(first, trainer.MicrobatchCount());
  if (trainer.SumsPayloads())
    payloads.assign(reinterpret_cast<const char*>(sum.data()), sum.size() * sizeof(float));
  auto steps = trainer.ApplyStep(payloads);
  EXPECT_OK(steps);
  return steps.ok() ? *std::move(steps) : std::vector<session::RunStep>{};
}

std::vector<session::RunStep> Step(session::Trainer& trainer) {
  return StepAs(trainer, {trainer.MicrobatchCount()});
}

std::vector<float> RowsOf(std::string_view state) {
  v1::TrainState parsed;
  EXPECT_TRUE(parsed.ParseFromArray(state.data(), static_cast<int>(state.size())));
  std::vector<float> rows(parsed.blocks(0).rows().size() / sizeof(float));
  std::memcpy(rows.data(), parsed.blocks(0).rows().data(), parsed.blocks(0).rows().size());
  return rows;
}

}  // namespace neolog::train::testing
