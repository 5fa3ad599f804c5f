#include "coordinator/cli/inputs.h"

#include <filesystem>

#include "common/base/hash.h"
#include "common/embedding/embedding.h"
#include "common/storage/posix_file_system.h"
#include "coordinator/cli/init_file.h"
#include "coordinator/cli/model_check.h"
#include "tests/common/checkpoint/model_files.h"
#include "tests/coordinator/cli/claim_folder.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli {
namespace {

using ::neolog::cli::testing::ClaimFolder;
using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

/// A run file whose model and pictures a test can spoil.
class InputsTest : public ::testing::Test {
 protected:
  InputsTest() : fs_(MakePosixFileSystem()) {
    fs::copy(SourcePath("configs/demo/model"), dir_.File("model"), fs::copy_options::recursive);
    fs::copy(SourcePath("configs/demo/pictures/zesko"), dir_.File("pictures"),
             fs::copy_options::recursive);
    dependencies_.fs = fs_.get();
    dependencies_.fingerprint_cache = dir_.File("fingerprints.json");
    settings_ = {"name=zesko", "model.path=" + dir_.File("model"), "word.name=zesko",
                 "data.images=" + dir_.File("pictures"), "checkpoint.log_dir=" + dir_.File("out")};
  }

  Inputs Check() {
    config::ConfigSources sources;
    sources.fs = fs_.get();
    sources.sets = settings_;
    sources.working_directory = dir_.path();
    config_ = config::LoadRunSpec(sources);
    return CheckInputs(config_, dependencies_);
  }

  /// All errors as text, one a line.
  std::string Errors() {
    Check();
    std::string text;
    for (const auto& error : config_.errors) text += error.Text() + "\n";
    return text;
  }

  ScopedDir dir_;
  std::unique_ptr<FileSystem> fs_;
  InputDependencies dependencies_;
  std::vector<std::string> settings_;
  config::ConfigResult config_;
};

TEST_F(InputsTest, GoodInputs_FillInTheSpec) {
  WriteFileOrDie(dir_.File("pictures/1.txt"), "a red \n one");
  const Inputs inputs = Check();
  EXPECT_TRUE(config_.ok()) << Errors();
  EXPECT_EQ(config_.spec.model().text_widths(0), 96u);
  EXPECT_EQ(config_.spec.model().short_hash(), config_.spec.model().fingerprint().substr(0, 10));
  EXPECT_EQ(config_.spec.data().samples_size(), 6);
  EXPECT_EQ(config_.spec.data().samples(0).file_name(), "1.png");
  EXPECT_EQ(config_.spec.data().samples(0).caption(), "a red one");
  EXPECT_EQ(config_.spec.data().templates_size(), 27);
  EXPECT_EQ(inputs.pictures.size(), 6u);
  EXPECT_EQ(inputs.warnings.size(), 0u);
}

TEST_F(InputsTest, SingleFile_IsKnownByTheHashOfWebUis) {
  const std::string file = dir_.File("m.safetensors");
  neolog::testing::WriteTensors(neolog::testing::OriginalLayout(
                                    ModelFamily::kSd1, neolog::testing::NarrowModelOfClipsTokens()),
                                file, TensorType::kFloat16);
  setenv("NEOLOG_CLIP_MERGES",
         neolog::testing::DependencyPath("clip/bpe_simple_vocab_16e6.txt.gz").c_str(), 1);
  settings_.push_back("model.path=" + file);
  EXPECT_EQ(Errors(), "");
  unsetenv("NEOLOG_CLIP_MERGES");
  EXPECT_EQ(config_.spec.model().short_hash(), Sha256Hex(ReadFileOrDie(file)).substr(0, 10));
  EXPECT_NE(config_.spec.model().short_hash(), config_.spec.model().fingerprint().substr(0, 10));
}

TEST_F(InputsTest, InitialRows_AreTheBlocksOneAfterTheOther) {
  Embedding embedding;
  embedding.name = "w";
  embedding.vectors = 2;
  embedding.blocks = {{2, {1, 2, 3, 4}}, {1, {5, 6}}};
  const std::string path = dir_.File("w.safetensors");
  WriteFileOrDie(path, *WriteEmbedding(embedding, EmbeddingFormat::kSdxl));
  ASSERT_OK_AND_ASSIGN(const std::string rows, ReadInitialRows(path, 2, {2, 1}, *fs_));
  const float expected[] = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(rows, std::string(reinterpret_cast<const char*>(expected), sizeof(expected)));
  EXPECT_THAT(ReadInitialRows(path, 2, {2}, *fs_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("width 2 and 1")));
  EXPECT_THAT(ReadInitialRows(path, 3, {2, 1}, *fs_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("set word.vectors to 2")));
}

struct BadInput {
  const char* name;
  std::vector<std::string> settings;
  std::function<void(const std::string& dir)> spoil;
  /// Every one of these stands in the errors.
  std::vector<const char*> words;
};

class BadInputTest : public InputsTest, public ::testing::WithParamInterface<BadInput> {};

TEST_P(BadInputTest, IsRefusedWithKeyAndRemedy) {
  settings_.insert(settings_.end(), GetParam().settings.begin(), GetParam().settings.end());
  if (GetParam().spoil) GetParam().spoil(dir_.path());
  const std::string errors = Errors();
  EXPECT_FALSE(config_.ok());
  for (const char* word : GetParam().words) EXPECT_THAT(errors, HasSubstr(word));
}

std::string Sd15Embedding() {
  Embedding embedding;
  embedding.name = "old";
  embedding.vectors = 1;
  embedding.blocks = {{768, std::vector<float>(768, 0.5f)}};
  return *WriteEmbedding(embedding, EmbeddingFormat::kA1111);
}

void Truncate(const std::string& path, size_t size) { fs::resize_file(path, size); }

INSTANTIATE_TEST_SUITE_P(
    All, BadInputTest,
    ::testing::Values(
        BadInput{"NoModelFolder",
                 {"model.path=nowhere"},
                 nullptr,
                 {"model.path", "there is no model", "nowhere"}},
        BadInput{"NotADiffusersFolder",
                 {},
                 [](const std::string& d) { fs::remove(d + "/model/model_index.json"); },
                 {"model.path", "model_index.json"}},
        BadInput{"NoWeights",
                 {},
                 [](const std::string& d) {
                   fs::remove(d + "/model/unet/diffusion_pytorch_model.safetensors");
                 },
                 {"model.path", "unet", ".safetensors"}},
        BadInput{"CorruptWeights",
                 {},
                 [](const std::string& d) {
                   Truncate(d + "/model/unet/diffusion_pytorch_model.safetensors", 5000);
                 },
                 {"model.path", "diffusion_pytorch_model.safetensors"}},
        BadInput{"WidthContradiction",
                 {},
                 [](const std::string& d) {
                   WriteFileOrDie(d + "/model/text_encoder/config.json",
                                  R"({"hidden_size": 768, "intermediate_size": 3072,
                                      "num_hidden_layers": 3, "num_attention_heads": 4})");
                 },
                 {"model.path", "'cross_attention_dim' is 96", "'hidden_size' is 768"}},
        BadInput{"NoTokenizer",
                 {},
                 [](const std::string& d) { fs::remove(d + "/model/tokenizer/vocab.json"); },
                 {"model.path", "vocab.json"}},
        BadInput{"NoPicturesFolder",
                 {"data.images=nowhere"},
                 nullptr,
                 {"data.images", "there is no folder"}},
        BadInput{"EmptyFolder",
                 {},
                 [](const std::string& d) {
                   fs::remove_all(d + "/pictures");
                   fs::create_directory(d + "/pictures");
                   WriteFileOrDie(d + "/pictures/notes.md", "x");
                 },
                 {"data.images", "has no pictures", "jpg, png"}},
        BadInput{"TwoBadPictures",
                 {},
                 [](const std::string& d) {
                   WriteFileOrDie(d + "/pictures/2.png", "text");
                   WriteFileOrDie(d + "/pictures/5.png", "");
                 },
                 {"2.png", "5.png", "2 of 6 pictures", "skip_bad_images: true"}},
        BadInput{"FormatThatIsNotRead",
                 {},
                 [](const std::string& d) { WriteFileOrDie(d + "/pictures/7.bmp", "BM123"); },
                 {"7.bmp", "convert"}},
        BadInput{"NothingLeft",
                 {"data.skip_bad_images=true"},
                 [](const std::string& d) {
                   for (int i = 1; i <= 6; ++i)
                     WriteFileOrDie(d + "/pictures/" + std::to_string(i) + ".png", "text");
                 },
                 {"data.images", "none of the 6 pictures"}},
        BadInput{"WordInTheVocabulary",
                 {"word.name=circle"},
                 nullptr,
                 {"word.name", "circle", "vocabulary"}},
        BadInput{
            "WordInNoPrompt",
            {"data.prompts=file", "data.prompt_file=p.txt"},
            [](const std::string& d) { WriteFileOrDie(d + "/p.txt", "a photo of something\n"); },
            {"data.prompt_file", "zesko"}},
        BadInput{
            "MisspeltPlaceholder",
            {"data.prompts=file", "data.prompt_file=p.txt"},
            [](const std::string& d) { WriteFileOrDie(d + "/p.txt", "a [name]\na [filewrods]\n"); },
            {"data.prompt_file", "filewrods"}},
        BadInput{"WordInNoCaption", {"data.prompts=captions"}, nullptr, {"data.prompts", "zesko"}},
        BadInput{"InitFileOfAnotherModel",
                 {"word.init_file=sd15.pt"},
                 [](const std::string& d) { WriteFileOrDie(d + "/sd15.pt", Sd15Embedding()); },
                 {"word.init_file", "768", "96"}},
        BadInput{"FormatForTwoEncoders",
                 {"checkpoint.formats=sdxl"},
                 nullptr,
                 {"checkpoint.formats", "these are for one"}},
        BadInput{"InitFileThatIsNone",
                 {"word.init_file=x.pt"},
                 [](const std::string& d) { WriteFileOrDie(d + "/x.pt", "hello"); },
                 {"word.init_file", "x.pt"}},
        BadInput{"BadRate",
                 {"training.learning_rate=0.1:x"},
                 nullptr,
                 {"training.learning_rate", "0.1:x"}},
        BadInput{"LogDirOfAnotherRun",
                 {},
                 [](const std::string& d) { ClaimFolder(d + "/out", "zesko", "zesko-77"); },
                 {"checkpoint.log_dir", "zesko-77", "neolog resume zesko-77"}}),
    [](const auto& info) { return info.param.name; });

TEST_F(InputsTest, ErrorsOfAllKinds_ComeTogether) {
  settings_.insert(settings_.end(),
                   {"word.name=circle", "training.stesp=3", "training.learning_rate=fast"});
  WriteFileOrDie(dir_.File("pictures/2.png"), "text");
  EXPECT_THAT(Errors(), AllOf(HasSubstr("training.stesp"), HasSubstr("training.learning_rate"),
                              HasSubstr("2.png"), HasSubstr("circle")));
}

TEST_F(InputsTest, FileThatCannotBeReadAtAll_GetsNoErrorsThatFollowFromIt) {
  config::ConfigSources sources;
  sources.fs = fs_.get();
  sources.file = dir_.File("broken.yaml");
  WriteFileOrDie(sources.file, "name: [zesko\n");
  config_ = config::LoadRunSpec(sources);
  const size_t before = config_.errors.size();
  EXPECT_GT(before, 0u);
  CheckInputs(config_, dependencies_);
  EXPECT_EQ(config_.errors.size(), before);
}

TEST_F(InputsTest, DamagedWeights_DoNotHideABadWord) {
  settings_.push_back("word.name=circle");
  fs::resize_file(dir_.File("model/vae/diffusion_pytorch_model.safetensors"), 5000);
  EXPECT_THAT(Errors(), AllOf(HasSubstr("vae"), HasSubstr("circle")));
}

TEST_F(InputsTest, BadPicturesAreLeftOutWhenAskedFor) {
  settings_.push_back("data.skip_bad_images=true");
  WriteFileOrDie(dir_.File("pictures/2.png"), "text");
  const Inputs inputs = Check();
  EXPECT_TRUE(config_.ok()) << Errors();
  EXPECT_EQ(config_.spec.data().samples_size(), 5);
  ASSERT_EQ(inputs.warnings.size(), 1u);
  EXPECT_THAT(inputs.warnings[0], AllOf(HasSubstr("2.png"), HasSubstr("left out")));
}

TEST_F(InputsTest, SomePromptsWithoutTheWord_AreAWarning) {
  WriteFileOrDie(dir_.File("p.txt"), "a photo of [name]\na photo\n");
  settings_.insert(settings_.end(), {"data.prompts=file", "data.prompt_file=p.txt"});
  const Inputs inputs = Check();
  EXPECT_TRUE(config_.ok()) << Errors();
  ASSERT_EQ(inputs.warnings.size(), 1u);
  EXPECT_THAT(inputs.warnings[0], HasSubstr("1 of 2 prompts"));
}

TEST_F(InputsTest, PromptsThatLoseTheirEnd_AreAWarning_InChunksTheyDoNot) {
  std::string longer = "[name]";
  for (int i = 0; i < 80; ++i) longer += " square";
  WriteFileOrDie(dir_.File("p.txt"), "a photo of [name]\n" + longer + "\n[name] " + longer + "\n");
  settings_.insert(settings_.end(), {"data.prompts=file", "data.prompt_file=p.txt"});
  const Inputs inputs = Check();
  EXPECT_TRUE(config_.ok()) << Errors();
  ASSERT_EQ(inputs.warnings.size(), 1u);
  EXPECT_THAT(inputs.warnings[0],
              AllOf(HasSubstr("2 of 3 prompts have more than 75 tokens"),
                    HasSubstr("up to 7 tokens"), HasSubstr("text.long_prompts: chunk")));
  settings_.push_back("text.long_prompts=chunk");
  EXPECT_EQ(Check().warnings.size(), 0u);
  EXPECT_TRUE(config_.ok()) << Errors();
}

TEST_F(InputsTest, WordBehindTheEnd_IsRefusedUnlessInChunks) {
  std::string longer;
  for (int i = 0; i < 74; ++i) longer += "square ";
  WriteFileOrDie(dir_.File("p.txt"), longer + "[name]\n");
  settings_.insert(settings_.end(),
                   {"data.prompts=file", "data.prompt_file=p.txt", "word.vectors=2"});
  EXPECT_THAT(Errors(), AllOf(HasSubstr("data.prompt_file"), HasSubstr("too long")));
  settings_.push_back("text.long_prompts=chunk");
  EXPECT_EQ(Errors(), "");
}

TEST_F(InputsTest, PreviewPrompts_AreReadAtSubmission) {
  settings_.insert(settings_.end(),
                   {"preview.every_steps=10", "preview.prompts=[zesko BREAK a square, zesko]",
                    "preview.negative_prompt=(bad:1.2.3)"});
  EXPECT_EQ(Errors(), "") << "without a syntax all of it is text";
  settings_.push_back("preview.emphasis=a1111");
  EXPECT_THAT(Errors(), AllOf(HasSubstr("preview.prompts"), HasSubstr("BREAK"),
                              HasSubstr("preview.negative_prompt"), HasSubstr("1.2.3")));
  settings_.push_back("preview.negative_prompt=(bad:1.2)");
  settings_.push_back("text.long_prompts=chunk");
  EXPECT_EQ(Errors(), "");
  settings_.push_back("preview.emphasis=none");
  settings_.push_back("text.long_prompts=truncate");
  std::string longer = "zesko";
  for (int i = 0; i < 80; ++i) longer += " square";
  settings_.push_back("preview.prompts=" + longer);
  const Inputs inputs = Check();
  ASSERT_EQ(inputs.warnings.size(), 1u);
  EXPECT_THAT(inputs.warnings[0], AllOf(HasSubstr("preview.prompts"), HasSubstr("last 6 tokens")));
}

TEST_F(InputsTest, PictureThatChangedMeanwhile_IsNotUploaded) {
  const Inputs inputs = Check();
  WriteFileOrDie(dir_.File("pictures/1.png"), "other");
  class Empty : public BlobStore {
   public:
    absl::StatusOr<std::string> Put(std::string_view) override { return std::string(); }
    absl::StatusOr<std::string> Get(std::string_view) override { return NotFound(""); }
    absl::StatusOr<std::vector<bool>> Has(const std::vector<std::string>& d) override {
      return std::vector<bool>(d.size());
    }
  } blobs;
  EXPECT_THAT(UploadPictures(inputs.pictures, *fs_, blobs, [] { return true; }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1.png")));
  EXPECT_THAT(UploadPictures(inputs.pictures, *fs_, blobs, [] { return false; }),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("nothing was submitted")));
}

}  // namespace
}  // namespace neolog::cli
