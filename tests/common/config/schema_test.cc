#include "common/config/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/config.h"
#include "common/storage/memory_file_system.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::config {
namespace {

const Descriptor& Root() { return *v1::RunSpec::descriptor(); }

TEST(SchemaTest, EveryField_SaysWhatItIs) {
  const std::function<void(const Descriptor&)> visit = [&](const Descriptor& message) {
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      ASSERT_TRUE(field.options().HasExtension(v1::setting)) << field.full_name();
      const v1::Setting& setting = SettingOf(field);
      EXPECT_FALSE(setting.doc().empty()) << field.full_name();
      EXPECT_TRUE(setting.default_value().empty() || !setting.required()) << field.full_name();
      if (IsUserSetting(field) && IsSection(field)) visit(*field.message_type());
    }
  };
  visit(Root());
}

TEST(SchemaTest, EveryDefaultAndExample_IsAValidValue) {
  MemoryFileSystem fs;
  for (const std::string& key : AllKeys(Root())) {
    const FieldDescriptor& field = *FindSetting(Root(), key)->back();
    for (const std::string& value :
         {SettingOf(field).default_value(), SettingOf(field).example()}) {
      if (value.empty()) continue;
      ConfigSources sources{.fs = &fs, .sets = {key + "=" + value}, .check_files = false};
      for (const ConfigError& error : LoadRunSpec(sources).errors) {
        EXPECT_THAT(error.Text(), ::testing::HasSubstr("missing")) << key << "=" << value;
      }
    }
  }
}

TEST(SchemaTest, FindSetting) {
  EXPECT_EQ(FindSetting(Root(), "training.steps")->back()->name(), "steps");
  EXPECT_EQ(FindSetting(Root(), "word.name")->back()->name(), "name");
  EXPECT_EQ(FindSetting(Root(), "word[0].name")->back()->name(), "name");
  EXPECT_EQ(FindSetting(Root(), "training")->size(), 1u);
  for (const char* key :
       {"", ".", "training.", "training.step", "training.steps.x", "name[0]", "word[1].name",
        "data.samples", "model.fingerprint", "word.initial_rows", "training[0].steps"}) {
    EXPECT_FALSE(FindSetting(Root(), key).has_value()) << key;
  }
}

TEST(SchemaTest, NearestKey) {
  const struct {
    const char* section;
    const char* key;
    const char* nearest;
  } kCases[] = {
      {"training", "stesp", "training.steps"},
      {"training", "learning-rate", "training.learning_rate"},
      {"training", "LearningRate", "training.learning_rate"},
      {"training", "rate", "training.learning_rate"},
      {"", "steps", "training.steps"},
      {"", "learning_rate", "training.learning_rate"},
      {"", "trainning", "training"},
      {"model", "prec", ""},
      {"model", "precison", "model.precision"},
      {"data", "prompt", "data.prompts"},
      {"data", "image", "data.images"},
      {"", "quux", ""},
      {"data", "templates", ""},
  };
  for (const auto& [section, key, nearest] : kCases) {
    EXPECT_EQ(NearestKey(Root(), section, key), nearest) << section << " " << key;
  }
}

TEST(SchemaTest, NearestKey_FindsEverySlipOfOneLetter) {
  for (const std::string& key : AllKeys(Root())) {
    const size_t dot = key.rfind('.');
    const std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
    const std::string name = key.substr(dot + 1);
    if (name.size() < 3) continue;
    for (size_t i = 0; i < name.size(); ++i) {
      std::string left_out = name, doubled = name, other = name, swapped = name;
      left_out.erase(i, 1);
      doubled.insert(i, 1, name[i]);
      other[i] = 'Q';
      if (i > 0) std::swap(swapped[i], swapped[i - 1]);
      for (const std::string& slip : {left_out, doubled, other, swapped}) {
        const std::string nearest = NearestKey(Root(), section, slip);
        // Another setting of the section may be as near.
        EXPECT_LE(EditDistance(slip, nearest.substr(nearest.rfind('.') + 1)), 1u)
            << key << " as " << slip << ": " << nearest;
      }
    }
  }
}

TEST(SchemaTest, EditDistance) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("abc", "abd"), 1u);
  EXPECT_EQ(EditDistance("abc", "acb"), 1u);
  EXPECT_EQ(EditDistance("steps", "step"), 1u);
  EXPECT_EQ(EditDistance("batch-Size", "batch_size"), 0u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
}

TEST(SchemaTest, ExpectedText) {
  const auto text = [](std::string_view key) {
    return ExpectedText(*FindSetting(Root(), key)->back());
  };
  EXPECT_EQ(text("word.vectors"), "a whole number from 1 to 75 (vectors)");
  EXPECT_EQ(text("training.steps"), "a whole number from 1 to 10000000 (steps)");
  EXPECT_EQ(text("training.seed"), "a whole number, 0 or more");
  EXPECT_EQ(text("training.epsilon"), "a number, 0 or more");
  EXPECT_EQ(text("data.flip"), "true or false");
  EXPECT_EQ(text("model.precision"), "one of fp32, bf16, fp16");
  EXPECT_EQ(text("checkpoint.formats"),
            "a list, each item one of a1111, png, diffusers, kohya, sdxl, onetrainer");
  EXPECT_EQ(text("model.path"), "a path");
  EXPECT_EQ(text("training"), "a map of settings");
}

}  // namespace
}  // namespace neolog::config
