// What must hold of runs on a model with two text encoders (SDXL), beside what pack_trainer_test.cc
// shows for one.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/hash.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/plan/philox.h"
#include "common/storage/model_fingerprint.h"
#include "common/tensor_file/safetensors.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "tests/worker/train/demo_pack.h"
#include "worker/diffusion/rows.h"
#include "worker/torch_support/weights.h"
#include "worker/train/loss.h"
#include "worker/train/pack_trainer.h"

namespace neolog::train {
namespace {

using ::neolog::testing::StatusIs;
using session::Trainer;
using testing::AssignmentOf;
using ::testing::HasSubstr;
using testing::MakeArtifact;
using testing::NewTrainer;
using testing::Step;
using testing::StepAs;

constexpr int64_t kWidths[] = {64, 128};  // of tests/golden/narrow_sdxl
constexpr int64_t kBoth = kWidths[0] + kWidths[1];

class TwoEncodersTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new neolog::testing::ScopedDir;
    neolog::testing::WriteSeededModel(neolog::testing::SourcePath("tests/golden/narrow_sdxl/model"),
                                      Model());
  }
  static void TearDownTestSuite() { delete dir_; }
  static std::string Model() { return dir_->File("sdxl"); }

  v1::RunSpec Spec(uint32_t vectors = 2) {
    v1::RunSpec spec = testing::DemoSpec("zesko", "zesko", blobs_);
    spec.mutable_model()->set_path(Model());
    static const std::string fingerprint =
        ModelFingerprint(OpenCheckpoint(Model(), {}).value().files, "").value_or("");
    spec.mutable_model()->set_fingerprint(fingerprint);
    for (const int64_t width : kWidths)
      spec.mutable_model()->add_text_widths(static_cast<uint32_t>(width));
    spec.mutable_word(0)->set_vectors(vectors);
    // A landscape and a portrait picture, of which training sees the middle.
    for (int i = 0; i < spec.data().samples_size(); ++i) {
      spec.mutable_data()->mutable_samples(i)->set_width(i % 2 == 0 ? 300 : 200);
      spec.mutable_data()->mutable_samples(i)->set_height(250);
    }
    spec.mutable_data()->clear_templates();
    spec.mutable_data()->add_templates("a photo of a [name]");
    spec.mutable_data()->add_templates("the [name] on a thing");
    return spec;
  }
  std::string Alone(const v1::RunSpec& spec, int steps) {
    auto trainer = NewTrainer(AssignmentOf({spec}), blobs_);
    for (int i = 0; i < steps; ++i) Step(*trainer);
    return trainer->SaveState(0);
  }
  static v1::TrainState Parsed(const std::string& state) {
    v1::TrainState parsed;
    EXPECT_TRUE(parsed.ParseFromString(state));
    return parsed;
  }

  static neolog::testing::ScopedDir* dir_;
  MemoryBlobStore blobs_;
};
neolog::testing::ScopedDir* TwoEncodersTest::dir_ = nullptr;

TEST_F(TwoEncodersTest, Rows_OfBothEncodersAreLearned) {
  const v1::TrainState before = Parsed(Alone(Spec(), 0)), after = Parsed(Alone(Spec(), 2));
  ASSERT_EQ(before.blocks_size(), 2);
  ASSERT_EQ(after.blocks_size(), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(after.blocks(i).encoder(), static_cast<uint32_t>(i));
    EXPECT_EQ(after.blocks(i).width(), kWidths[i]);
    EXPECT_EQ(after.blocks(i).vectors(), 2u);
    EXPECT_EQ(after.blocks(i).rows().size(), sizeof(float) * 2 * static_cast<size_t>(kWidths[i]));
    EXPECT_NE(after.blocks(i).rows(), before.blocks(i).rows());
    EXPECT_NE(after.blocks(i).exp_avg(), before.blocks(i).exp_avg());
  }
}

TEST_F(TwoEncodersTest, State_IsTheSameForEverySplitPackAndResume) {
  const std::string alone = Alone(Spec(), 4);
  v1::RunSpec other = Spec(3);
  other.set_name("other");
  other.mutable_training()->set_learning_rate("0.001");
  other.mutable_training()->set_seed(99);
  auto pack = NewTrainer(AssignmentOf({Spec(), other}), blobs_);
  for (int i = 0; i < 4; ++i) StepAs(*pack, {1, 2, 1});
  EXPECT_EQ(pack->SaveState(0), alone);
  EXPECT_EQ(pack->SaveState(1), Alone(other, 4));

  v1::Assignment assignment = AssignmentOf({Spec()});
  const std::string saved = Alone(Spec(), 1);
  assignment.mutable_runs(0)->set_committed_state(saved);
  assignment.mutable_runs(0)->set_committed_hash(Hash64(saved));
  auto resumed = NewTrainer(assignment, blobs_);
  for (int i = 0; i < 3; ++i) StepAs(*resumed, {1, 1});
  EXPECT_EQ(resumed->SaveState(0), alone);
}

TEST_F(TwoEncodersTest, ChunkedPrompts_LearnBothEncoders_AndKeepTheirBits) {
  v1::RunSpec spec = Spec();
  spec.mutable_text()->set_long_prompts("chunk");
  std::string longer = "a photo";
  for (int i = 0; i < 80; ++i) longer += " thing";
  spec.mutable_data()->add_templates(longer + " of a [name]");
  const v1::TrainState before = Parsed(Alone(spec, 0)), after = Parsed(Alone(spec, 3));
  for (int i = 0; i < 2; ++i) EXPECT_NE(after.blocks(i).rows(), before.blocks(i).rows());
  auto pack = NewTrainer(AssignmentOf({Spec(3), spec}), blobs_);
  for (int i = 0; i < 3; ++i) StepAs(*pack, {1, 2, 1});
  EXPECT_EQ(pack->SaveState(1), Alone(spec, 3));
  EXPECT_EQ(pack->SaveState(0), Alone(Spec(3), 3));
}

// What A1111 does: the first chunk alone gives the pooled text, and weights change the hidden
// states of both encoders but not it.
TEST_F(TwoEncodersTest, PooledText_IsTheFirstChunks_AndIsNotWeighed) {
  ASSERT_OK_AND_ASSIGN(const auto model, diffusion::LoadModel(Model(), {}));
  ASSERT_OK_AND_ASSIGN(const dataset::Tokenizers tokenizers,
                       LoadTokenizers(OpenCheckpoint(Model(), {}).value()));
  const PromptRules rules{LongPrompts::kChunk, Emphasis::kA1111};
  const auto encode = [&](const char* text) {
    const auto prompt = dataset::EncodePrompt(tokenizers, text, {"zesko", 2}, 77, rules).value();
    const at::Tensor rows = at::ones({2 * kBoth}) * 0.1;
    return model->EncodeText(dataset::TextInputsOf({&prompt}, rows, model->info().text_widths));
  };
  const auto first = encode("a photo of zesko"), second = encode("the thing"),
             both = encode("a photo of zesko BREAK the thing"),
             weighed = encode("a photo of (zesko:1.5) BREAK the thing");
  EXPECT_TRUE(at::equal(both.pooled, first.pooled));
  EXPECT_TRUE(at::equal(both.hidden, at::cat({first.hidden, second.hidden}, 1)));
  EXPECT_TRUE(at::equal(weighed.pooled, first.pooled));
  EXPECT_TRUE(at::equal(weighed.hidden.narrow(1, 77, 77), second.hidden));
  for (const auto& [offset, width] :
       {std::pair{int64_t{0}, kWidths[0]}, {kWidths[0], kWidths[1]}}) {
    const at::Tensor plain = first.hidden.narrow(2, offset, width),
                     changed = weighed.hidden.narrow(1, 0, 77).narrow(2, offset, width);
    EXPECT_FALSE(at::equal(changed, plain)) << offset;
    // Means of some 10,000 floats of size 1.
    EXPECT_NEAR(changed.mean().item<double>(), plain.mean().item<double>(), 1e-5) << offset;
  }
}

// tests/reference/make_emphasis.py says what is in the file.
TEST_F(TwoEncodersTest, WeighedPromptsInChunks_AreTheReferences) {
  constexpr int64_t kStride = 7;
  const std::string path = neolog::testing::SourcePath("tests/golden/emphasis.safetensors");
  ASSERT_OK_AND_ASSIGN(const auto golden, torch_support::WeightMap::Open(path));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  const auto prompts = nlohmann::json::parse(file->metadata().at("prompts"));
  ASSERT_GE(prompts.size(), 4u);
  ASSERT_OK_AND_ASSIGN(const auto model, diffusion::LoadModel(Model(), {}));
  ASSERT_OK_AND_ASSIGN(const dataset::Tokenizers tokenizers,
                       LoadTokenizers(OpenCheckpoint(Model(), {}).value()));
  const at::Tensor rows = golden->Take("rows", {2 * kBoth});
  // As REPLAY.md allows for activations.
  const auto expect_near = [](const at::Tensor& found, const at::Tensor& expected) {
    const double largest = expected.abs().max().item<double>();
    EXPECT_LT((found - expected).abs().max().item<double>(), 2e-4 * largest);
  };
  for (size_t n = 0; n < prompts.size(); ++n) {
    SCOPED_TRACE(prompts[n]);
    ASSERT_OK_AND_ASSIGN(
        const dataset::EncodedPrompt prompt,
        dataset::EncodePrompt(tokenizers, prompts[n].get<std::string>(), {"zesko", 2}, 77,
                              {LongPrompts::kChunk, Emphasis::kA1111}));
    const diffusion::Conditioning text =
        model->EncodeText(dataset::TextInputsOf({&prompt}, rows, model->info().text_widths));
    const int64_t kept = (text.hidden.size(1) + kStride - 1) / kStride;
    expect_near(text.hidden[0].slice(0, 0, std::nullopt, kStride),
                golden->Take("hidden_" + std::to_string(n), {kept, kBoth}));
    expect_near(text.pooled[0], golden->Take("pooled_" + std::to_string(n), {kWidths[1]}));
  }
  EXPECT_OK(golden->Finish({}));
}

TEST_F(TwoEncodersTest, FirstRows_AreEachEncodersOwn) {
  ASSERT_OK_AND_ASSIGN(const auto model, diffusion::LoadModel(Model(), {}));
  ASSERT_OK_AND_ASSIGN(const dataset::Tokenizers tokenizers,
                       LoadTokenizers(OpenCheckpoint(Model(), {}).value()));
  ASSERT_EQ(tokenizers.size(), 2u);
  EXPECT_NE(tokenizers[0]->pad_token(), 0);
  EXPECT_EQ(tokenizers[1]->pad_token(), 0);
  const v1::TrainState state = Parsed(Alone(Spec(), 0));  // init_text "thing", for both vectors
  const std::vector<int64_t> thing = dataset::InitialTokens(*tokenizers[0], "thing");
  for (int i = 0; i < 2; ++i) {
    const at::Tensor row = model->TokenEmbeddings(static_cast<size_t>(i), thing).contiguous();
    const std::string bytes(reinterpret_cast<const char*>(row.const_data_ptr<float>()),
                            static_cast<size_t>(row.numel()) * sizeof(float));
    EXPECT_EQ(state.blocks(i).rows(), bytes + bytes);
  }

  v1::RunSpec spec = Spec();
  std::vector<float> rows(2 * kBoth);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i) / 1000;
  const std::string bytes(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(float));
  spec.mutable_word(0)->set_initial_rows(bytes);
  const v1::TrainState given = Parsed(Alone(spec, 0));
  EXPECT_EQ(given.blocks(0).rows() + given.blocks(1).rows(), bytes);

  spec.mutable_word(0)->set_initial_rows(bytes.substr(4));
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  EXPECT_THAT((*trainer)->Prepare(AssignmentOf({spec})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("64 + 128")));
}

TEST_F(TwoEncodersTest, SizeOfThePicture_Matters) {
  v1::RunSpec unknown = Spec();
  for (v1::Sample& sample : *unknown.mutable_data()->mutable_samples()) {
    sample.set_width(0);
    sample.set_height(0);
  }
  EXPECT_NE(Alone(unknown, 1), Alone(Spec(), 1));
}

TEST_F(TwoEncodersTest, ModelOfOtherWidths_IsRefused) {
  v1::RunSpec spec = Spec();
  spec.mutable_model()->mutable_text_widths()->RemoveLast();
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  EXPECT_THAT((*trainer)->Prepare(AssignmentOf({spec})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has 64 and 128")));
}

TEST_F(TwoEncodersTest, Preview_IsDrawn) {
  v1::RunSpec spec = Spec();
  spec.mutable_preview()->set_every_steps(1);
  spec.mutable_preview()->add_prompts("a photo of a zesko");
  spec.mutable_preview()->set_sampler("ddim");
  spec.mutable_preview()->set_steps(2);
  spec.mutable_preview()->set_cfg(3);
  auto trainer = NewTrainer(AssignmentOf({spec}), blobs_);
  Step(*trainer);
  ASSERT_OK_AND_ASSIGN(const Trainer::Artifact preview, MakeArtifact(*trainer, 0, 0));
  EXPECT_EQ(preview.bytes.substr(1, 3), "PNG");
}

TEST_F(TwoEncodersTest, Gradient_IsTheSlopeOfTheLoss) {
  ASSERT_OK_AND_ASSIGN(const auto model, diffusion::LoadModel(Model(), {}));
  ASSERT_OK_AND_ASSIGN(const dataset::Tokenizers tokenizers,
                       LoadTokenizers(OpenCheckpoint(Model(), {}).value()));
  ASSERT_OK_AND_ASSIGN(const dataset::EncodedPrompt prompt,
                       dataset::EncodePrompt(tokenizers, "a photo of a zesko", {"zesko", 2}, 77));
  const auto normal = [](uint32_t stream, at::IntArrayRef shape) {
    at::Tensor values = at::empty(shape, at::kFloat);
    FillNormal({1, RandomPurpose::kDiffusionNoise, stream, 0},
               {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
    return values;
  };
  const dataset::Posterior posterior{normal(1, {4, 8, 8}), normal(2, {4, 8, 8}).abs()};
  SampleInput sample;
  sample.plan.timestep = 400;
  sample.plan.posterior_noise = {1, RandomPurpose::kPosteriorNoise, 1, 0};
  sample.plan.diffusion_noise = {1, RandomPurpose::kDiffusionNoise, 1, 0};
  sample.prompt = &prompt;
  sample.posterior = &posterior;
  sample.time_ids = dataset::TimeIdsOf(300, 200, 64);
  const MicrobatchInput input = MakeMicrobatch(*model, std::span(&sample, 1), 1);
  const at::Tensor rows = normal(3, {2 * kBoth}) * 0.4;
  const MicrobatchResult result = ComputeLossAndGradient(*model, input, 1, rows);
  // Along the rows of one encoder at a time.
  for (const size_t encoder : {0u, 1u}) {
    at::Tensor direction = at::zeros_like(rows);
    diffusion::RowBlocks(direction, model->info().text_widths)[encoder].copy_(
        normal(4, {2, kWidths[encoder]}));
    const double h = 2e-3;
    const double up = ComputeLoss(*model, input, rows + h * direction).item<double>();
    const double down = ComputeLoss(*model, input, rows - h * direction).item<double>();
    const double slope = (result.gradients[0] * direction).sum().item<double>();
    EXPECT_GT(std::abs(slope), 1e-4);
    // The loss is good to about 1e-7 of itself, the quotient to 1e-4; curvature costs below 1 %.
    EXPECT_NEAR((up - down) / (2 * h), slope, 0.01 * std::abs(slope) + 2e-4) << encoder;
  }
}

TEST(TimeIdsTest, AreThoseOfThePreparedSquare) {
  struct Case {
    uint32_t width, height, resolution;
    dataset::TimeIds expected;
  };
  for (const Case& c : {Case{1024, 1024, 1024, {1024, 1024, 0, 0, 1024, 1024}},
                        Case{2000, 1000, 512, {1000, 2000, 0, 256, 512, 512}},
                        Case{300, 900, 512, {900, 300, 512, 0, 512, 512}},
                        Case{301, 200, 64, {200, 301, 0, 16, 64, 64}},
                        Case{0, 0, 512, {512, 512, 0, 0, 512, 512}}}) {
    EXPECT_EQ(dataset::TimeIdsOf(c.width, c.height, c.resolution), c.expected)
        << c.width << " x " << c.height;
  }
}

}  // namespace
}  // namespace neolog::train
