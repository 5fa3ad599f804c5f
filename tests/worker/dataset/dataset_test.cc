#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/image/png.h"
#include "common/storage/memory_blob_store.h"
#include "tests/common/text/small_vocabulary.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "worker/dataset/posterior.h"
#include "worker/dataset/prompts.h"
#include "worker/torch_support/runtime.h"

namespace neolog::dataset {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

v1::RunSpec Spec() {
  v1::RunSpec spec;
  spec.mutable_model()->set_fingerprint("abc");
  spec.mutable_model()->set_precision("fp32");
  spec.add_word()->set_name("zesko");
  spec.mutable_word(0)->set_vectors(2);
  for (const char* name : {"a.png", "b.png"}) {
    v1::Sample* sample = spec.mutable_data()->add_samples();
    sample->set_file_name(name);
    sample->set_image_digest(std::string(64, name[0]));
    sample->set_caption(std::string("zesko caption ") + name[0]);
  }
  spec.mutable_data()->add_templates("a photo of [name]");
  spec.mutable_data()->add_templates("[name], [filewords]");
  return spec;
}

TEST(LatentKeyTest, DependsOnEverythingThatTheBytesFollowFrom) {
  std::set<std::string> keys;
  const auto add = [&](const v1::RunSpec& spec, uint32_t image, uint32_t resolution, bool flip,
                       const char* numerics = "AVX512; fp32") {
    keys.insert(LatentRequestOf(spec, image, resolution, flip, numerics).key);
  };
  add(Spec(), 0, 64, false);
  add(Spec(), 1, 64, false);
  add(Spec(), 0, 128, false);
  add(Spec(), 0, 64, true);
  v1::RunSpec other = Spec();
  other.mutable_model()->set_fingerprint("abd");
  add(other, 0, 64, false);
  add(Spec(), 0, 64, false, "AVX2; fp32");
  EXPECT_EQ(keys.size(), 6u);
  // And on nothing else.
  other = Spec();
  other.set_name("another run");
  other.mutable_word(0)->set_name("wimbra");
  other.mutable_data()->mutable_samples(0)->set_file_name("renamed.png");
  EXPECT_EQ(LatentRequestOf(other, 0, 64, false, "").key,
            LatentRequestOf(Spec(), 0, 64, false, "").key);
}

class PosteriorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(torch_support::SetUpRuntime({.threads = 1}));
    ASSERT_OK_AND_ASSIGN(
        model_, diffusion::LoadModel(neolog::testing::SourcePath("configs/demo/model"), {}));
  }
  // A request for bytes in the store.
  LatentRequest RequestFor(const std::string& bytes, bool flip = false) {
    LatentRequest request;
    request.image_digest = blobs_.Put(bytes).value();
    request.file_name = "picture.png";
    request.resolution = 64;
    request.flip = flip;
    return request;
  }

  MemoryBlobStore blobs_;
  std::unique_ptr<diffusion::Model> model_;
};

TEST_F(PosteriorTest, EncodedPicture_DecodesToItself) {
  const std::string file = neolog::testing::ReadFileOrDie(
      neolog::testing::SourcePath("configs/demo/pictures/zesko/1.png"));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodePosterior(*model_, blobs_, RequestFor(file)));
  ASSERT_OK_AND_ASSIGN(const Posterior posterior, ParsePosterior(bytes, model_->info(), 64));
  const at::Tensor latent =
      DrawLatent(posterior, at::zeros_like(posterior.mean), model_->info().scaling_factor)
          .unsqueeze(0);
  const at::Tensor decoded = model_->DecodeLatents(latent);
  const at::Tensor pixels = PixelsOf(DecodeImage(file, "1.png").value());
  EXPECT_EQ(pixels.sizes(), (std::vector<int64_t>{1, 3, 64, 64}));
  EXPECT_GE(pixels.min().item<float>(), -1);
  EXPECT_LE(pixels.max().item<float>(), 1);
  // The VAE's own loss is about 27 dB: a mean square of 0.008 in [-1, 1].
  EXPECT_LT((decoded - pixels).square().mean().item<float>(), 0.02);
  // The bytes are those of the picture alone: the same again.
  EXPECT_EQ(EncodePosterior(*model_, blobs_, RequestFor(file)).value(), bytes);
}

TEST_F(PosteriorTest, Flip_MirrorsThePicture) {
  Image image{64, 64, std::string(64 * 64 * 3, '\0')};
  Image mirrored = image;
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 20; ++x) {
      image.rgb[(y * 64 + x) * 3] = '\xff';
      mirrored.rgb[(y * 64 + 63 - x) * 3] = '\xff';
    }
  }
  EXPECT_EQ(
      EncodePosterior(*model_, blobs_, RequestFor(EncodePng(image, {}).value(), true)).value(),
      EncodePosterior(*model_, blobs_, RequestFor(EncodePng(mirrored, {}).value())).value());
}

TEST_F(PosteriorTest, UnusablePictures_AreNamed) {
  EXPECT_THAT(EncodePosterior(*model_, blobs_, RequestFor("not a picture")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'picture.png'")));
  LatentRequest missing = RequestFor("x");
  missing.image_digest = std::string(64, '0');
  EXPECT_THAT(EncodePosterior(*model_, blobs_, missing),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("'picture.png'")));
}

TEST_F(PosteriorTest, UnusableBytes_AreRefused) {
  const size_t size = 2 * 4 * 16 * 16 * sizeof(float);
  EXPECT_THAT(ParsePosterior(std::string(size - 4, '\0'), model_->info(), 64),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected 8192")));
  std::string bytes(size, '\0');
  const float nan = std::numeric_limits<float>::quiet_NaN();
  bytes.replace(100, sizeof nan, reinterpret_cast<const char*>(&nan), sizeof nan);
  EXPECT_THAT(ParsePosterior(bytes, model_->info(), 64),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not finite")));
}

class PromptsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(
        tokenizers_,
        LoadTokenizers(
            OpenCheckpoint(neolog::testing::SourcePath("configs/demo/model"), {}).value()));
  }
  Tokenizers tokenizers_;
};

TEST_F(PromptsTest, Templates_AreFilledInAndSpliced) {
  ASSERT_OK_AND_ASSIGN(Prompts prompts, Prompts::Create(Spec(), tokenizers_, 77));
  EXPECT_EQ(prompts.Of(0, 1).text, "a photo of zesko");
  EXPECT_EQ(prompts.Of(1, 0).text, "zesko, zesko caption a");
  EXPECT_EQ(prompts.Of(1, 1).text, "zesko, zesko caption b");
  const EncodedPrompt& prompt = prompts.Of(0, 0);
  ASSERT_EQ(prompt.encoders[0].ids.size(), 77u);
  EXPECT_EQ(prompt.encoders[0].ids[0], tokenizers_[0]->start_token());
  EXPECT_EQ(
      std::vector<int64_t>(prompt.encoders[0].slots.begin(), prompt.encoders[0].slots.begin() + 7),
      (std::vector<int64_t>{-1, -1, -1, -1, 0, 1, -1}));
  EXPECT_EQ(prompt.encoders[0].ids[6], tokenizers_[0]->end_token());
}

TEST_F(PromptsTest, Captions_AreThePrompts) {
  v1::RunSpec spec = Spec();
  spec.mutable_data()->clear_templates();
  ASSERT_OK_AND_ASSIGN(Prompts prompts, Prompts::Create(spec, tokenizers_, 77));
  EXPECT_EQ(prompts.Of(0, 0).text, "zesko caption a");
  EXPECT_EQ(prompts.Of(0, 1).text, "zesko caption b");
}

TEST_F(PromptsTest, WordThatStandsNowhere_IsRefused) {
  v1::RunSpec spec = Spec();
  spec.mutable_data()->clear_templates();
  for (v1::Sample& sample : *spec.mutable_data()->mutable_samples()) sample.set_caption("a photo");
  EXPECT_THAT(Prompts::Create(spec, tokenizers_, 77),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("zesko")));
}

std::string Times(int count, const std::string& text) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST_F(PromptsTest, LongPrompts_AreCut_OrAllHaveTheChunksOfTheLongest) {
  v1::RunSpec spec = Spec();
  spec.mutable_data()->mutable_samples(1)->set_caption(Times(100, "a photo "));
  ASSERT_OK_AND_ASSIGN(Prompts cut, Prompts::Create(spec, tokenizers_, 77));
  spec.mutable_text()->set_long_prompts("truncate");
  ASSERT_OK_AND_ASSIGN(Prompts named, Prompts::Create(spec, tokenizers_, 77));
  spec.mutable_text()->set_long_prompts("chunk");
  ASSERT_OK_AND_ASSIGN(Prompts chunked, Prompts::Create(spec, tokenizers_, 77));
  const EncodedText empty = EncodePrompt(tokenizers_, "", {}, 77)->encoders[0];
  for (const auto& [prompt, image] : {std::pair{0u, 0u}, {1u, 0u}, {1u, 1u}}) {
    const EncodedText& one = cut.Of(prompt, image).encoders[0];
    const EncodedText& all = chunked.Of(prompt, image).encoders[0];
    EXPECT_EQ(one.ids.size(), 77u);
    EXPECT_EQ(named.Of(prompt, image).encoders[0].ids, one.ids);
    EXPECT_EQ(named.Of(prompt, image).encoders[0].slots, one.slots);
    EXPECT_EQ(all.ids.size(), 3 * 77u) << "203 tokens";
    EXPECT_EQ(all.slots.size(), all.ids.size());
    if (image == 0) {
      EXPECT_TRUE(std::equal(one.ids.begin(), one.ids.end(), all.ids.begin()));
      EXPECT_TRUE(std::equal(empty.ids.begin(), empty.ids.end(), all.ids.begin() + 77));
      EXPECT_TRUE(std::equal(empty.ids.begin(), empty.ids.end(), all.ids.begin() + 154));
    }
    EXPECT_TRUE(all.weights.empty());
  }
  spec.mutable_text()->set_long_prompts("wrap");
  EXPECT_THAT(Prompts::Create(spec, tokenizers_, 77),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncate or chunk")));
}

TEST_F(PromptsTest, LongWord_BeginsTheNextChunk_WhereCuttingWouldRefuseIt) {
  v1::RunSpec spec = Spec();
  spec.mutable_word(0)->set_vectors(10);
  spec.mutable_data()->clear_templates();
  spec.mutable_data()->add_templates(Times(35, "a photo ") + "[name]");
  EXPECT_THAT(Prompts::Create(spec, tokenizers_, 77),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too long")));
  spec.mutable_text()->set_long_prompts("chunk");
  ASSERT_OK_AND_ASSIGN(Prompts prompts, Prompts::Create(spec, tokenizers_, 77));
  const std::vector<int64_t>& slots = prompts.Of(0, 0).encoders[0].slots;
  ASSERT_EQ(slots.size(), 2 * 77u);
  EXPECT_EQ(std::count(slots.begin(), slots.begin() + 78, -1), 78);
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(slots[78 + static_cast<size_t>(i)], i);
}

// "!!" is one token for the first tokenizer and two for the second, which pads with "!".
TEST(TwoTokenizersTest, EncodersHaveEquallyManyChunks_AndBothMustHoldTheWord) {
  Tokenizers tokenizers;
  TokenizerFiles files = neolog::testing::SmallVocabulary({"! !</w>"});
  ASSERT_OK_AND_ASSIGN(tokenizers.emplace_back(), Tokenizer::FromFiles(files, "first"));
  files.tokenizer_config_json = R"({"pad_token":"!"})";
  ASSERT_OK_AND_ASSIGN(tokenizers.emplace_back(), Tokenizer::FromFiles(files, "second"));
  v1::RunSpec spec = Spec();
  spec.mutable_data()->clear_templates();
  spec.mutable_data()->add_templates(Times(40, "!! ") + "[name]");
  EXPECT_THAT(Prompts::Create(spec, tokenizers, 77),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none of the 1 prompts")));
  spec.mutable_data()->add_templates("[name]");
  EXPECT_OK(Prompts::Create(spec, tokenizers, 77));
  spec.mutable_data()->set_templates(0, Times(37, "!! ") + "[name]");
  EXPECT_THAT(Prompts::Create(spec, tokenizers, 77),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too long")));
  spec.mutable_text()->set_long_prompts("chunk");
  ASSERT_OK_AND_ASSIGN(Prompts prompts, Prompts::Create(spec, tokenizers, 77));
  const EncodedPrompt& prompt = prompts.Of(0, 0);
  EXPECT_EQ(prompt.encoders[0].ids.size(), 2 * 77u);
  EXPECT_EQ(prompt.encoders[1].ids.size(), 2 * 77u);
  EXPECT_EQ(prompt.encoders[0].slots[38], 0);
  EXPECT_EQ(prompt.encoders[1].slots[78], 0);
  ASSERT_OK_AND_ASSIGN(const EncodedPrompt one,
                       EncodePrompt(tokenizers, prompt.text, {"zesko", 2}, 77,
                                    {.long_prompts = LongPrompts::kChunk}));
  EXPECT_EQ(one.encoders[0].ids, prompt.encoders[0].ids);
  EXPECT_EQ(one.encoders[1].ids, prompt.encoders[1].ids);
}

TEST_F(PromptsTest, PromptAndNegativePrompt_HaveEquallyManyChunks) {
  const std::string longer = Times(60, "a photo "), shorter = "a photo of zesko";
  const PromptRules chunk{.long_prompts = LongPrompts::kChunk};
  for (const bool negative_is_longer : {false, true}) {
    ASSERT_OK_AND_ASSIGN(
        const PicturePrompts both,
        EncodePicturePrompts(tokenizers_, negative_is_longer ? shorter : longer,
                             negative_is_longer ? longer : shorter, {"zesko", 2}, 77, chunk));
    EXPECT_EQ(both.prompt.encoders[0].ids.size(), 2 * 77u);
    EXPECT_EQ(both.negative.encoders[0].ids.size(), 2 * 77u);
  }
  ASSERT_OK_AND_ASSIGN(const PicturePrompts cut,
                       EncodePicturePrompts(tokenizers_, longer, shorter, {"zesko", 2}, 77));
  EXPECT_EQ(cut.prompt.encoders[0].ids.size(), 77u);
  EXPECT_THAT(EncodePicturePrompts(tokenizers_, "a photo", "(a:1.2.3)", {}, 77,
                                   {.emphasis = Emphasis::kA1111}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the negative prompt")));
}

TEST_F(PromptsTest, Emphasis_IsForPreviewsAlone) {
  v1::RunSpec spec = Spec();
  spec.mutable_data()->add_templates("a (photo:1.5) of [name]");
  spec.mutable_preview()->add_prompts("a (photo:1.5) of zesko");
  spec.mutable_preview()->set_negative_prompt("[photo]");
  ASSERT_OK_AND_ASSIGN(Prompts plain, Prompts::Create(spec, tokenizers_, 77));
  ASSERT_OK_AND_ASSIGN(const PicturePrompts text, plain.OfPreview(0));
  EXPECT_TRUE(text.prompt.encoders[0].weights.empty());
  spec.mutable_preview()->set_emphasis("a1111");
  ASSERT_OK_AND_ASSIGN(Prompts prompts, Prompts::Create(spec, tokenizers_, 77));
  ASSERT_OK_AND_ASSIGN(const PicturePrompts weighed, prompts.OfPreview(0));
  const EncodedText& prompt = weighed.prompt.encoders[0];
  ASSERT_EQ(prompt.weights.size(), 77u);
  EXPECT_EQ(std::count(prompt.weights.begin(), prompt.weights.end(), 1.5f), 1);
  EXPECT_EQ(prompt.weights[2], 1.5f);
  EXPECT_EQ(weighed.negative.encoders[0].weights.at(1), static_cast<float>(1 / 1.1));
  EXPECT_TRUE(prompts.Of(2, 0).encoders[0].weights.empty());

  // One prompt with weights and one without, as one batch.
  const at::Tensor rows = at::zeros({2 * 8});
  const EncodedPrompt zesko = prompts.Of(0, 0);
  const auto inputs = TextInputsOf({&zesko, &weighed.prompt}, rows, {8});
  ASSERT_TRUE(inputs[0].weights.defined());
  EXPECT_TRUE(inputs[0].weights[0].eq(1).all().item<bool>());
  EXPECT_EQ(inputs[0].weights[1][2].item<float>(), 1.5f);
  EXPECT_FALSE(TextInputsOf({&zesko, &text.prompt}, rows, {8})[0].weights.defined());
}

TEST_F(PromptsTest, InitialTokens_LeaveOutStartAndEnd) {
  EXPECT_TRUE(InitialTokens(*tokenizers_[0], "").empty());
  EXPECT_EQ(InitialTokens(*tokenizers_[0], "orange square").size(), 2u);
  EXPECT_EQ(InitialTokens(*tokenizers_[0], "square")[0],
            InitialTokens(*tokenizers_[0], "orange square")[1]);
}

}  // namespace
}  // namespace neolog::dataset
