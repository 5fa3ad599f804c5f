#include "common/config/settings_text.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "common/config/config.h"
#include "common/config/schema.h"
#include "common/storage/durable_write.h"
#include "common/storage/memory_file_system.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"

namespace neolog::config {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ConfigResult Read(const std::string& yaml) {
  MemoryFileSystem fs;
  EXPECT_OK(WriteFileDurably(fs, "/run.yaml", yaml));
  return LoadRunSpec({.fs = &fs, .file = "/run.yaml", .check_files = false});
}

/// Awkward values on top of the defaults, and internal ones.
v1::RunSpec Sample() {
  v1::RunSpec spec = Read("name: x\nmodel: {path: /m}\nword: {name: a}\ndata: {images: /p}\n").spec;
  spec.set_name("r-1");
  spec.mutable_model()->set_path("/models/with space");
  spec.mutable_model()->set_precision("bf16");
  spec.mutable_model()->set_fingerprint("abc");
  spec.mutable_model()->add_text_widths(768);
  auto* word = spec.mutable_word(0);
  word->set_name("<no>");
  word->set_vectors(3);
  word->set_init_text("it's \"a\" \\ toy: # yes");
  word->set_initial_rows(std::string(16, '\xff'));
  spec.mutable_data()->set_images("/pictures/größe");
  spec.mutable_data()->set_flip(true);
  spec.mutable_data()->add_samples()->set_image_digest("x");
  spec.mutable_data()->add_templates("a photo");
  spec.mutable_training()->set_seed(UINT64_MAX);
  spec.mutable_training()->set_learning_rate("0.005:100, 1e-3");
  spec.mutable_training()->set_epsilon(1e-8);
  spec.mutable_training()->set_beta2(0.1 + 0.2);  // has no short decimal form
  spec.mutable_preview()->add_prompts("null");
  spec.mutable_preview()->add_prompts("[a, b]: {c}");
  spec.mutable_preview()->add_prompts("- dash");
  return spec;
}

TEST(SettingsTextTest, Yaml_ReadsBackToTheSameValues) {
  const v1::RunSpec spec = WithoutInternal(Sample());
  const ConfigResult read = Read(ToYaml(spec));
  ASSERT_TRUE(read.ok()) << FormatErrors(read.errors, read.text, false);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(read.spec, spec)) << ToYaml(spec);
}

TEST(SettingsTextTest, InternalSettings_AreLeftOut) {
  for (const std::string& text : {ToYaml(Sample()), ToJson(Sample())}) {
    EXPECT_THAT(text, Not(HasSubstr("fingerprint")));
    EXPECT_THAT(text, Not(HasSubstr("samples:")));
    EXPECT_THAT(text, Not(HasSubstr("initial_rows: ")));
    EXPECT_THAT(text, HasSubstr("with space"));
  }
  EXPECT_EQ(WithoutInternal(Sample()).data().samples_size(), 0);
  EXPECT_EQ(WithoutInternal(Sample()).word(0).initial_rows(), "");
  EXPECT_EQ(WithoutInternal(Sample()).word(0).name(), "<no>");
}

TEST(SettingsTextTest, Json_IsJson) {
  const auto json = nlohmann::json::parse(ToJson(Sample()));
  EXPECT_EQ(json["training"]["learning_rate"], "0.005:100, 1e-3");
  EXPECT_EQ(json["word"][0]["vectors"], 3);
}

TEST(SettingsTextTest, Origins_StandBesideTheValues) {
  const ConfigResult result =
      Read("name: x\nmodel: {path: /m}\nword: {name: a}\ndata: {images: /p}\n");
  EXPECT_THAT(ToYaml(result.spec, &result.origins), AllOf(HasSubstr("name: x  # /run.yaml:1:7\n"),
                                                          HasSubstr("  steps: 3000  # default\n")));
}

TEST(SettingsTextTest, YamlText) {
  const struct {
    const char* text;
    const char* yaml;
  } kCases[] = {{"fp32", "fp32"},   {"/a/b-c.d", "/a/b-c.d"}, {"", "\"\""},
                {"no", "\"no\""},   {"NULL", "\"NULL\""},     {"007", "\"007\""},
                {"a b", "\"a b\""}, {"a\"b", "\"a\\\"b\""},   {"~", "\"~\""},
                {"-x", "\"-x\""},   {"a\nb", "\"a\\x0ab\""}};
  for (const auto& [text, yaml] : kCases) EXPECT_EQ(YamlText(text), yaml);
}

TEST(SettingsTextTest, Explain) {
  ASSERT_OK_AND_ASSIGN(const std::string text, Explain("training.steps"));
  EXPECT_THAT(text, AllOf(HasSubstr("Optimiser steps"), HasSubstr("from 1 to 10000000 (steps)"),
                          HasSubstr("default:     3000"), HasSubstr("NEOLOG_SET_TRAINING__STEPS")));
  EXPECT_THAT(*Explain("training"), HasSubstr("training.learning_rate"));
  EXPECT_THAT(*Explain("word[0].name"), AllOf(HasSubstr("word.name"), HasSubstr("required"),
                                              HasSubstr("example:     zesko")));
  EXPECT_THAT(Explain("training.step"),
              StatusIs(absl::StatusCode::kNotFound,
                       "there is no setting 'training.step'; did you mean training.steps?"));
  EXPECT_THAT(Explain("model.fingerprint"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no setting")));
}

TEST(SettingsTextTest, ExplainAll_NamesEverySetting) {
  const std::string text = ExplainAll();
  for (const std::string& key : AllKeys(*v1::RunSpec::descriptor())) {
    EXPECT_THAT(text, HasSubstr(key + "\n  ")) << key;
  }
}

}  // namespace
}  // namespace neolog::config
