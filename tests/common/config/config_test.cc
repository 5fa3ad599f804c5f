#include "common/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/checks.h"
#include "common/storage/durable_write.h"
#include "common/storage/memory_file_system.h"
#include "tests/support/status_matchers.h"

namespace neolog::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr char kMinimal[] = R"(name: zesko
model:
  path: models/sd15
word:
  name: zesko
data:
  images: pictures
)";

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    for (const char* folder : {"/data/me/models/sd15", "/data/me/pictures"})
      EXPECT_OK(fs_.CreateDirectories(folder));
    Write("/data/me/models/sd15/model_index.json", "{}");
    sources_ = {
        .fs = &fs_, .file = "me/run.yaml", .working_directory = "/data", .home = "/data/me"};
  }
  void Write(std::string_view path, std::string_view text) {
    ASSERT_OK(WriteFileDurably(fs_, path, text));
  }
  ConfigResult Load(std::string_view text) {
    Write("/data/me/run.yaml", text);
    // The in-memory file system has no working directory.
    sources_.file = "/data/me/run.yaml";
    return LoadRunSpec(sources_);
  }
  std::vector<std::string> Errors(std::string_view text) {
    std::vector<std::string> errors;
    for (const ConfigError& error : Load(text).errors) {
      std::string line = error.Text();
      if (line.starts_with("/data/me/")) line = line.substr(9);
      errors.push_back(std::move(line));
    }
    return errors;
  }

  MemoryFileSystem fs_;
  ConfigSources sources_;
};

TEST_F(ConfigTest, MinimalFile_GetsEveryDefault) {
  const ConfigResult result = Load(kMinimal);
  ASSERT_THAT(result.errors, IsEmpty()) << FormatErrors(result.errors, result.text, false);
  const v1::RunSpec& spec = result.spec;
  EXPECT_EQ(spec.name(), "zesko");
  EXPECT_EQ(spec.model().path(), "/data/me/models/sd15");
  EXPECT_EQ(spec.model().precision(), "fp32");
  ASSERT_EQ(spec.word_size(), 1);
  EXPECT_EQ(spec.word(0).name(), "zesko");
  EXPECT_EQ(spec.word(0).vectors(), 1u);
  EXPECT_EQ(spec.data().images(), "/data/me/pictures");
  EXPECT_EQ(spec.data().prompts(), "object");
  EXPECT_EQ(spec.training().steps(), 3000u);
  EXPECT_EQ(spec.training().batch_size(), 4u);
  EXPECT_EQ(spec.training().learning_rate(), "0.005");
  EXPECT_DOUBLE_EQ(spec.training().epsilon(), 1e-8);
  EXPECT_EQ(spec.training().reduce(), "ordered");
  EXPECT_EQ(spec.validation().draws_per_image(), 4u);
  EXPECT_EQ(spec.text().long_prompts(), "truncate");
  EXPECT_EQ(spec.preview().seed(), 1u);
  EXPECT_EQ(spec.preview().emphasis(), "none");
  EXPECT_EQ(spec.checkpoint().log_dir(), "/data/me/out");
  EXPECT_THAT(spec.checkpoint().formats(), ElementsAre("a1111", "diffusers"));
  EXPECT_EQ(spec.resources().threads_per_worker(), 1u);
  EXPECT_EQ(result.origins.at("training.steps").Text(), "default");
  EXPECT_EQ(result.origins.at("word.name").Text(), "/data/me/run.yaml:5:9");
}

TEST_F(ConfigTest, ValuesOfEveryKind_AreRead) {
  const ConfigResult result = Load(std::string(kMinimal) + R"(  flip: true
  resolution: 512
training:
  learning_rate: 0.005:100, 1e-3:1000, 1e-5
  final_factor: 0.1
  seed: 18446744073709551615
preview:
  every_steps: 100
  prompts: [a photo of zesko, "zesko, on the beach"]
checkpoint:
  formats: diffusers
)");
  ASSERT_THAT(result.errors, IsEmpty()) << FormatErrors(result.errors, result.text, false);
  EXPECT_TRUE(result.spec.data().flip());
  EXPECT_EQ(result.spec.data().resolution(), 512u);
  EXPECT_EQ(result.spec.training().learning_rate(), "0.005:100, 1e-3:1000, 1e-5");
  EXPECT_DOUBLE_EQ(result.spec.training().final_factor(), 0.1);
  EXPECT_EQ(result.spec.training().seed(), UINT64_MAX);
  EXPECT_THAT(result.spec.preview().prompts(),
              ElementsAre("a photo of zesko", "zesko, on the beach"));
  EXPECT_THAT(result.spec.checkpoint().formats(), ElementsAre("diffusers"));
}

TEST_F(ConfigTest, PlainText_IsTakenAsWritten) {
  const ConfigResult result = Load(R"(name: 007
model: {path: models/sd15}
word: [{name: no, init_text: 1e3}]
data: {images: pictures}
)");
  ASSERT_THAT(result.errors, IsEmpty()) << FormatErrors(result.errors, result.text, false);
  EXPECT_EQ(result.spec.name(), "007");
  EXPECT_EQ(result.spec.word(0).name(), "no");
  EXPECT_EQ(result.spec.word(0).init_text(), "1e3");
}

TEST_F(ConfigTest, SectionWithEverythingCommentedOut_IsEmpty) {
  EXPECT_THAT(Errors(std::string(kMinimal) + "training:\n  # steps: 5\nresources:\n"), IsEmpty());
}

TEST_F(ConfigTest, EveryError_IsReportedAtOnceInOrder) {
  EXPECT_THAT(
      Errors(R"(name: my run
model:
  path: models/gone
  precision: int8
word:
  name: zesko
  vectors: 76
  fingerprint: x
data:
  images: pictures
  flip: no
training:
  stesp: 100
  batch_size: "4"
  batch_size: 8
  gradient_accumulation: 010
  learning_rate: fast
  beta1: 1.5
steps: 5
)"),
      ElementsAre(
          AllOf(StartsWith("run.yaml:1:7: name: expected"), HasSubstr("found 'my run'")),
          AllOf(StartsWith("run.yaml:3:9: model.path: there is no model '/data/me/models/gone'")),
          "run.yaml:4:14: model.precision: expected one of fp32, bf16, fp16, found 'int8'",
          "run.yaml:7:12: word.vectors: expected a whole number from 1 to 75 (vectors), found 76",
          "run.yaml:8:3: word.fingerprint: unknown setting",
          "run.yaml:11:9: data.flip: expected true or false, found 'no'",
          "run.yaml:13:3: training.stesp: unknown setting; did you mean training.steps?",
          AllOf(StartsWith("run.yaml:14:15: training.batch_size: expected a whole number"),
                HasSubstr("leave the quotes out")),
          "run.yaml:15:3: training.batch_size: given twice, first on line 14; keep one of them",
          AllOf(StartsWith("run.yaml:16:26: training.gradient_accumulation"),
                HasSubstr("write 10")),
          AllOf(StartsWith("run.yaml:17:18: training.learning_rate: "), HasSubstr("fast")),
          "run.yaml:18:10: training.beta1: expected a number from 0 to 0.999999, found 1.5",
          "run.yaml:19:1: steps: unknown setting; did you mean training.steps?"));
}

TEST_F(ConfigTest, MissingSettings_PointAtTheirSection) {
  EXPECT_THAT(
      Errors("model:\n  precision: fp32\nname: x\n"),
      ElementsAre("run.yaml: word.name: is missing; expected text, for example 'name: zesko'",
                  "run.yaml: data.images: is missing; expected a path, for example 'images: "
                  "pictures/zesko'",
                  "run.yaml:1:1: model.path: is missing; expected a path, for example 'path: "
                  "models/sd15'"));
}

TEST_F(ConfigTest, InternalSettings_CannotBeSet) {
  EXPECT_THAT(Errors(std::string(kMinimal) + "  samples: []\n  templates: [x]\n"),
              ElementsAre(HasSubstr("data.samples: unknown setting"),
                          HasSubstr("data.templates: unknown setting")));
  sources_.sets = {"model.fingerprint=abc", "model.text_widths=5"};
  EXPECT_THAT(Errors(kMinimal), ElementsAre(HasSubstr("model.fingerprint: unknown setting"),
                                            HasSubstr("model.text_widths: unknown setting")));
}

struct WrongCase {
  const char* name;
  const char* append;  // to kMinimal, which ends in the section `data`
  const char* error;
};

class ConfigWrongTest : public ConfigTest, public ::testing::WithParamInterface<WrongCase> {};

TEST_P(ConfigWrongTest, GivesOneErrorThatSaysIt) {
  EXPECT_THAT(Errors(std::string(kMinimal) + GetParam().append),
              ElementsAre(HasSubstr(GetParam().error)));
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigWrongTest,
    ::testing::Values(
        WrongCase{"ListForMap", "training: [1]\n",
                  "training: expected a map of settings, found a list"},
        WrongCase{"TextForMap", "training: fast\n",
                  "training: expected a map of settings, found 'fast'"},
        WrongCase{"MapForNumber", "training: {steps: {a: 1}}\n",
                  "training.steps: expected a whole number from 1"},
        WrongCase{"ListForNumber", "training: {steps: [5]}\n", "found a list"},
        WrongCase{"NothingForNumber", "training:\n  steps:\n",
                  "found nothing; give a value or remove the line"},
        WrongCase{"MapForText", "  prompt_file: {a: b}\n",
                  "data.prompt_file: expected a path, found a map"},
        WrongCase{"MapInList", "preview: {prompts: [{a: b}]}\n",
                  "preview.prompts: expected a list, each item text, found a map"},
        WrongCase{"NothingInList", "preview: {prompts: [a, ~]}\n", "found nothing"},
        WrongCase{"MergeKey", "training:\n  <<: {steps: 5}\n", "merge keys"},
        WrongCase{"PromptFileMissing", "  prompts: file\n",
                  "data.prompts: 'file' needs data.prompt_file"},
        WrongCase{"PromptFileUnused", "  prompt_file: model.txt\n",
                  "is only read with data.prompts: file"},
        WrongCase{"PromptFileNotThere", "  prompts: file\n  prompt_file: gone.txt\n",
                  "there is no file '/data/me/gone.txt'"},
        WrongCase{"PromptFileIsFolder", "  prompts: file\n  prompt_file: models\n",
                  "is a folder; expected a file"},
        WrongCase{"PreviewWithoutPrompts", "preview:\n  every_steps: 10\n",
                  "previews need preview.prompts"},
        WrongCase{"EmptyPrompt", "preview:\n  prompts: ['']\n", "found an empty one"},
        WrongCase{"NoFormats", "checkpoint: {formats: []}\n", "at least one format"},
        WrongCase{"FormatTwice", "checkpoint: {formats: [a1111, a1111]}\n",
                  "'a1111' stands here twice"},
        WrongCase{"SameFile", "checkpoint: {formats: [diffusers, kohya]}\n",
                  "'kohya' would be the same .safetensors file as 'diffusers'"},
        WrongCase{"UnknownFormat", "checkpoint: {formats: [a1112]}\n", "did you mean a1111?"},
        WrongCase{"OddResolution", "  resolution: 100\n", "multiple of 8"},
        WrongCase{"LargeResolution", "  resolution: 4096\n", "from 0 to 2048 (pixels), found 4096"},
        WrongCase{"NegativeSteps", "training: {steps: -5}\n", "found -5"},
        WrongCase{"HugeSteps", "training: {warmup_steps: 5000000000}\n",
                  "the largest is 4294967295"},
        WrongCase{"EmptyLearningRate", "training: {learning_rate: ''}\n", "training.learning_rate"},
        WrongCase{"WarmupTooLong", "training: {warmup_steps: 3000}\n", "training.warmup_steps"},
        WrongCase{"TwoWords", "word[0]: x\n", "unknown setting"}),
    [](const auto& info) { return info.param.name; });

TEST_F(ConfigTest, TwoWords_AreRefused) {
  EXPECT_THAT(Errors("name: x\nmodel: {path: models/sd15}\ndata: {images: pictures}\nword:\n  - "
                     "name: a\n  - name: b\n"),
              ElementsAre("run.yaml:6:5: word: expected exactly one in this version, found 2"));
}

TEST_F(ConfigTest, InitTextAndFile_ExcludeEachOther) {
  Write("/data/me/start.pt", "x");
  EXPECT_THAT(Errors("name: x\nmodel: {path: models/sd15}\ndata: {images: pictures}\n"
                     "word: {name: a, init_text: toy, init_file: start.pt}\n"),
              ElementsAre(HasSubstr("word.init_file: word.init_text is set too")));
}

TEST_F(ConfigTest, WordNames) {
  for (const char* good : {"zesko", "<cat-toy>", "größe", "s*", "*", "a1111", "_x_"}) {
    EXPECT_EQ(WordNameProblem(good), "") << good;
  }
  for (const std::string& bad : {std::string(), std::string("two words"), std::string("a\u3000b"),
                                 std::string("(a)"), std::string("[name]"), std::string("a,b"),
                                 std::string("a/b"), std::string("a:1.2"), std::string(65, 'x')}) {
    EXPECT_NE(WordNameProblem(bad), "") << bad;
  }
}

// What it is, is looked at where models are read (common/checkpoint).
TEST_F(ConfigTest, Model_IsAFolderAFileOrANameOnTheHub) {
  ASSERT_OK(fs_.CreateDirectories("/data/me/empty"));
  Write("/data/me/single.ckpt", "x");
  for (const char* path : {"/data/me/empty", "/data/me/single.ckpt", "owner/name"}) {
    sources_.sets = {std::string("model.path=") + path};
    EXPECT_THAT(Errors(kMinimal), IsEmpty()) << path;
  }
  sources_.sets = {"model.path=/data/me/gone.ckpt"};
  EXPECT_THAT(Errors(kMinimal),
              ElementsAre("--set: model.path: there is no model '/data/me/gone.ckpt'"));
  sources_.sets = {"model.vae=/data/me/gone.ckpt"};
  EXPECT_THAT(Errors(kMinimal),
              ElementsAre("--set: model.vae: there is no file or folder '/data/me/gone.ckpt'"));
}

TEST_F(ConfigTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string text =
      std::string(kMinimal) + "training: {steps: 1, batch_size: 2, microbatch: 3}\n";
  sources_.environment = {{"NEOLOG_SET_TRAINING__STEPS", "11"},
                          {"NEOLOG_SET_TRAINING__BATCH_SIZE", "12"},
                          {"HOME", "x"}};
  sources_.sets = {"training.steps=21", "training.steps=22"};
  const ConfigResult result = Load(text);
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.spec.training().steps(), 22u);
  EXPECT_EQ(result.spec.training().batch_size(), 12u);
  EXPECT_EQ(result.spec.training().microbatch(), 3u);
  EXPECT_EQ(result.spec.training().warmup_steps(), 0u);
  EXPECT_EQ(result.origins.at("training.steps").Text(), "--set");
  EXPECT_EQ(result.origins.at("training.batch_size").Text(), "NEOLOG_SET_TRAINING__BATCH_SIZE");
  EXPECT_EQ(result.origins.at("training.microbatch").Text(), "/data/me/run.yaml:8:49");
  EXPECT_EQ(result.origins.at("training.warmup_steps").Text(), "default");
}

TEST_F(ConfigTest, Flags_TakeTextAsItIsAndListsAsYaml) {
  sources_.sets = {"word.init_text=a: b",
                   "preview.prompts=[a photo, of zesko]",
                   "training.learning_rate=0.1:5, 0.01",
                   "word[0].vectors=3",
                   "preview.negative_prompt=",
                   "data.flip=true"};
  const ConfigResult result = Load(kMinimal);
  ASSERT_THAT(result.errors, IsEmpty()) << FormatErrors(result.errors, "", false);
  EXPECT_EQ(result.spec.word(0).init_text(), "a: b");
  EXPECT_EQ(result.spec.word(0).vectors(), 3u);
  EXPECT_THAT(result.spec.preview().prompts(), ElementsAre("a photo", "of zesko"));
  EXPECT_EQ(result.spec.training().learning_rate(), "0.1:5, 0.01");
  EXPECT_TRUE(result.spec.data().flip());
}

TEST_F(ConfigTest, WrongFlagsAndVariables_AreNamed) {
  sources_.sets = {"training.stesp=5", "steps=5",           "nothing",           "=5",
                   "training=5",       "training.steps=[1", "training.steps=no", "training.steps="};
  sources_.environment = {{"NEOLOG_SET_TRAINING__STESP", "5"}, {"NEOLOG_SET_DATA__FLIP", "yes"}};
  EXPECT_THAT(
      Errors(kMinimal),
      ElementsAre(
          "NEOLOG_SET_DATA__FLIP: data.flip: expected true or false, found 'yes'",
          "NEOLOG_SET_TRAINING__STESP: no setting has this variable; did you mean "
          "NEOLOG_SET_TRAINING__STEPS?",
          "--set: training.stesp: unknown setting; did you mean training.steps?",
          "--set: steps: unknown setting; did you mean training.steps?",
          HasSubstr("expected key=value, for example training.steps=500; found 'nothing'"),
          HasSubstr("found '=5'"), HasSubstr("training: this is a section; name a setting in it"),
          HasSubstr("training.steps: expected a whole number"),
          HasSubstr("training.steps: expected a whole number"), HasSubstr("found nothing")));
}

TEST_F(ConfigTest, Paths_StartAtTheFileOrTheWorkingDirectory) {
  sources_.check_files = false;
  sources_.sets = {"checkpoint.log_dir=here"};
  ConfigResult result = Load(
      "name: x\nmodel: {path: ../models//sd15/}\nword: {name: a}\ndata: {images: ~/pictures}\n");
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.spec.model().path(), "/data/models/sd15");
  EXPECT_EQ(result.spec.data().images(), "/data/me/pictures");
  EXPECT_EQ(result.spec.checkpoint().log_dir(), "/data/here");
  EXPECT_EQ(result.spec.data().prompt_file(), "");
}

TEST_F(ConfigTest, NoFile_FlagsAlone) {
  sources_.file.clear();
  sources_.check_files = false;
  sources_.sets = {"name=x", "model.path=m", "word.name=zesko", "data.images=p"};
  const ConfigResult result = LoadRunSpec(sources_);
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.spec.model().path(), "/data/m");
}

TEST_F(ConfigTest, UnreadableFiles_GiveOneError) {
  sources_.file = "/data/me/gone.yaml";
  ConfigResult result = LoadRunSpec(sources_);
  ASSERT_EQ(result.errors.size(), 1u);
  EXPECT_THAT(result.errors[0].Text(), HasSubstr("/data/me/gone.yaml"));
  EXPECT_THAT(Errors("a: [1\n"), ElementsAre(StartsWith("run.yaml:2:1: not YAML")));
  EXPECT_THAT(
      Errors("- a\n- b\n"),
      ::testing::Contains(HasSubstr("expected settings as 'key: value' lines, found a list")));
}

TEST_F(ConfigTest, ErrorAt_PointsAtTheValue) {
  const ConfigResult result = Load(kMinimal);
  EXPECT_EQ(result.ErrorAt("word.name", "is a token of the model's vocabulary").Text(),
            "/data/me/run.yaml:5:9: word.name: is a token of the model's vocabulary");
}

TEST_F(ConfigTest, FormatErrors_ShowsTheLine) {
  const ConfigResult result = Load(std::string(kMinimal) + "  flip: maybe\n");
  EXPECT_EQ(FormatErrors(result.errors, result.text, false),
            "/data/me/run.yaml:8:9: data.flip: expected true or false, found 'maybe'\n"
            "     8 |   flip: maybe\n"
            "       |         ^\n"
            "1 error\n");
  EXPECT_THAT(FormatErrors(result.errors, result.text, true), HasSubstr("\x1b["));
}

TEST_F(ConfigTest, ControlCharacters_DoNotReachTheTerminal) {
  sources_.sets = {"training.steps=\x1b[31m", "name=\xff"};
  for (const std::string& error : Errors(kMinimal)) {
    EXPECT_EQ(error.find('\x1b'), std::string::npos);
    EXPECT_EQ(error.find('\xff'), std::string::npos);
  }
  EXPECT_FALSE(Load(kMinimal).ok());
}

}  // namespace
}  // namespace neolog::config
