#include "worker/diffusion/model_arguments.h"

#include <gtest/gtest.h>

namespace neolog::diffusion {
namespace {

struct Parsed {
  std::string path;
  ModelOptions options;
};

// Throws what CLI11 does.
Parsed Parse(std::vector<std::string> words) {
  Parsed parsed;
  CLI::App app;
  AddModelArguments(app, &parsed.path, &parsed.options);
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  app.parse(words);
  return parsed;
}

TEST(ModelArguments, Defaults_AreTheModelsOwn) {
  const Parsed parsed = Parse({"--model", "m"});
  EXPECT_EQ(parsed.path, "m");
  EXPECT_EQ(parsed.options.device, "cpu");
  EXPECT_EQ(parsed.options.precision, Precision::kFloat32);
  EXPECT_EQ(parsed.options.checkpoint.vae_path, "");
  EXPECT_EQ(parsed.options.checkpoint.v_prediction, std::nullopt);
}

TEST(ModelArguments, EachIsTaken) {
  const Parsed parsed = Parse({"--model", "m", "--vae", "v.safetensors", "--prediction",
                               "v_prediction", "--device", "cuda:1", "--dtype", "fp16"});
  EXPECT_EQ(parsed.options.device, "cuda:1");
  EXPECT_EQ(parsed.options.precision, Precision::kFloat16);
  EXPECT_EQ(parsed.options.checkpoint.vae_path, "v.safetensors");
  EXPECT_EQ(parsed.options.checkpoint.v_prediction, true);
  EXPECT_EQ(Parse({"--model", "m", "--prediction", "epsilon"}).options.checkpoint.v_prediction,
            false);
}

TEST(ModelArguments, OtherWords_AreRefused) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"--model", "m", "--prediction", "x0"},
                                                {"--model", "m", "--dtype", "int8"}}) {
    EXPECT_THROW(Parse(words), CLI::ParseError);
  }
}

}  // namespace
}  // namespace neolog::diffusion
