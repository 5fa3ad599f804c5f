#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/image/png.h"
#include "common/storage/memory_blob_store.h"
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

TEST_F(PromptsTest, InitialTokens_LeaveOutStartAndEnd) {
  EXPECT_TRUE(InitialTokens(*tokenizers_[0], "").empty());
  EXPECT_EQ(InitialTokens(*tokenizers_[0], "orange square").size(), 2u);
  EXPECT_EQ(InitialTokens(*tokenizers_[0], "square")[0],
            InitialTokens(*tokenizers_[0], "orange square")[1]);
}

}  // namespace
}  // namespace neolog::dataset
