// What wrong input gets: exit code 2, a message that names it, and no file.

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/replay/run_replay.h"

namespace neolog::replay {
namespace {

using ::neolog::testing::Case;
using ::neolog::testing::ReadCase;
using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::Replayed;
using ::neolog::testing::RunReplay;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::WriteCase;
using ::neolog::testing::WriteFileOrDie;
using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string Model() { return SourcePath("tests/golden/narrow_sd1/model"); }

struct BadCase {
  const char* name;
  const char* base;  // the golden case that is spoilt
  std::function<void(Case&)> spoil;
  const char* message;
};

// Changes one value of the JSON.
std::function<void(Case&)> Set(const std::string& key, const Json& value) {
  return [=](Case& c) {
    Json json = Json::parse(c.json);
    json[key] = value;
    c.json = json.dump();
  };
}
std::function<void(Case&)> Unset(const std::string& key) {
  return [=](Case& c) {
    Json json = Json::parse(c.json);
    json.erase(key);
    c.json = json.dump();
  };
}
// Writes one element of a tensor.
template <typename T>
std::function<void(Case&)> Poke(const std::string& tensor, int64_t index, T value) {
  return [=](Case& c) { c.tensors.at(tensor).mutable_data_ptr<T>()[index] = value; };
}
std::function<void(Case&)> Replace(const std::string& tensor, const at::Tensor& value) {
  return [=](Case& c) { c.tensors[tensor] = value; };
}

class BadInput : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadInput, IsNamedAndNothingWritten) {
  Case value = ReadCase(
      SourcePath(std::string("tests/golden/narrow_sd1/") + GetParam().base + ".case.safetensors"));
  GetParam().spoil(value);
  const ScopedDir dir;
  WriteCase(value, dir.File("case.safetensors"));
  const Replayed result = RunReplay(Model(), dir.File("case.safetensors"));
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr(GetParam().message));
  EXPECT_THAT(result.errors, HasSubstr("case.safetensors'"));
  EXPECT_FALSE(result.wrote);
}

const auto kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Metadata, BadInput,
    ::testing::Values(
        BadCase{"none", "train", [](Case& c) { c.metadata_key = ""; },
                "no metadata key 'neolog.replay'"},
        BadCase{"other_key", "train", [](Case& c) { c.metadata_key = "format"; },
                "metadata key 'format'"},
        BadCase{"no_json", "train", [](Case& c) { c.json = "{kind}"; }, "not JSON"},
        BadCase{"no_object", "train", [](Case& c) { c.json = "[1]"; }, "not a JSON object"},
        BadCase{"no_kind", "train", Unset("kind"), "no string 'kind'"},
        BadCase{"key_twice", "vae_encode",
                [](Case& c) { c.json = R"({"kind": "vae_encode", "kind": "vae_decode"})"; },
                "'kind' twice"},
        BadCase{"unknown_kind", "train", Set("kind", "dream"),
                "kind 'dream' is not known; known: train, vae_encode, vae_decode, sample"},
        BadCase{"extra_setting", "vae_encode", Set("steps", 3),
                "'steps' means nothing for the kind 'vae_encode'"},
        BadCase{"extra_train_setting", "train", Set("learning_rate", 1),
                "'learning_rate' means nothing"}),
    [](const auto& info) { return std::string(info.param.name); });

INSTANTIATE_TEST_SUITE_P(
    TrainSettings, BadInput,
    ::testing::Values(
        BadCase{"no_lr", "train", Unset("lr"), "'lr' is missing"},
        BadCase{"short_lr", "train", Set("lr", {0.1, 0.2}), "'lr' has 2 rates; expected 4"},
        BadCase{"negative_lr", "train", Set("lr", {0.1, -0.2, 0.1, 0.1}),
                "'lr' is [0.1,-0.2,0.1,0.1]"},
        BadCase{"lr_number", "train", Set("lr", 0.1), "'lr' is 0.1"},
        BadCase{"lr_null", "train", Set("lr", nullptr), "'lr'"},
        BadCase{"empty_lr", "train", Set("lr", Json::array()), "'lr' is []"},
        BadCase{"broken_step_list", "train", Set("lr", "fast:3"), "'lr'"},
        BadCase{"empty_step_list", "train", Set("lr", ""), "'lr' is an empty step list"},
        BadCase{"step_list_ends", "train", Set("lr", "0.1:2"),
                "ends at step 2; the case has 4 optimiser steps"},
        BadCase{"beta1", "train", Set("beta1", 1.0), "'beta1' is 1.0"},
        BadCase{"beta2", "train", Set("beta2", -0.1), "'beta2' is -0.1"},
        BadCase{"eps", "train", Set("eps", "tiny"), "'eps' is \"tiny\""},
        BadCase{"weight_decay", "train", Unset("weight_decay"), "'weight_decay' is missing"},
        BadCase{"accumulation_zero", "train", Set("grad_accumulation", 0),
                "'grad_accumulation' is 0"},
        BadCase{"accumulation_fraction", "train", Set("grad_accumulation", 1.5),
                "'grad_accumulation' is 1.5"},
        BadCase{"accumulation_not_divisor", "train", Set("grad_accumulation", 3),
                "'grad_accumulation' is 3, which does not divide the 4 recorded micro-steps"},
        BadCase{"prediction", "train", Set("prediction", "sample"), "'prediction' is \"sample\""}),
    [](const auto& info) { return std::string(info.param.name); });

INSTANTIATE_TEST_SUITE_P(
    TrainTensors, BadInput,
    ::testing::Values(
        BadCase{"missing", "train", [](Case& c) { c.tensors.erase("noise"); }, "tensor 'noise' [S,B,4,h,w] is missing"},
        BadCase{"extra", "train", Replace("mask", at::ones({1})), "tensor 'mask' does not belong to the kind 'train'"},
        BadCase{"wrong_type", "train", Replace("timesteps", at::zeros({4, 2})), "tensor 'timesteps' is F32; expected I64"},
        BadCase{"half_type", "train", [](Case& c) { c.tensors["rows"] = c.tensors["rows"].to(at::kHalf); },
                "tensor 'rows' is F16; expected F32"},
        BadCase{"wrong_width", "train", Replace("rows", at::zeros({2, 33})),
                "tensor 'rows' has shape [2, 33]; expected [K,D] = [2, 32]"},
        BadCase{"no_rows", "train", Replace("rows", at::zeros({0, 32})), "tensor 'rows' has shape [0, 32]"},
        BadCase{"other_batch", "train", Replace("timesteps", at::zeros({4, 3}, at::kLong)),
                "tensor 'timesteps' has shape [4, 3]; expected [S,B] = [4, 2]"},
        BadCase{"one_dimension_less", "train", Replace("latents", at::zeros({4, 4, 8, 8})), "tensor 'latents' has shape [4, 4, 8, 8]"},
        BadCase{"channels", "train", Replace("latents", at::zeros({4, 2, 3, 8, 8})), "tensor 'latents' has shape [4, 2, 3, 8, 8]"},
        BadCase{"noise_size", "train", Replace("noise", at::zeros({4, 2, 4, 8, 9})), "tensor 'noise' has shape"},
        BadCase{"positions", "train", [](Case& c) {
                  for (const char* name : {"input_ids", "slots"}) c.tensors[name] = c.tensors[name].narrow(2, 0, 70).contiguous();
                }, "expected [S,B,T] = [4, 2, 77]"},
        BadCase{"loss_weight", "train", Replace("loss_weight", at::ones({4, 2, 4, 8, 8})), "tensor 'loss_weight' has shape"},
        BadCase{"slot_low", "train", Poke<int64_t>("slots", 80, -2), "tensor 'slots' has -2 at [0, 1, 3]"},
        BadCase{"slot_high", "train", Poke<int64_t>("slots", 0, 2), "tensor 'slots' has 2 at [0, 0, 0]"},
        BadCase{"id_high", "train", Poke<int64_t>("input_ids", 1, 10'000'000), "tensor 'input_ids' has 10000000 at [0, 0, 1]"},
        BadCase{"id_low", "train", Poke<int64_t>("input_ids", 1, -1), "tensor 'input_ids' has -1 at [0, 0, 1]"},
        BadCase{"timestep_high", "train", Poke<int64_t>("timesteps", 3, 1000), "tensor 'timesteps' has 1000 at [1, 1]; expected 0 to 999"},
        BadCase{"timestep_low", "train", Poke<int64_t>("timesteps", 0, -1), "tensor 'timesteps' has -1 at [0, 0]"},
        BadCase{"nan", "train", Poke<float>("latents", 7, kNan), "tensor 'latents' has a value that is not finite, at flat index 7"},
        BadCase{"infinite", "train", Poke<float>("rows", 0, std::numeric_limits<float>::infinity()), "tensor 'rows' has a value"}),
    [](const auto& info) { return std::string(info.param.name); });

INSTANTIATE_TEST_SUITE_P(
    OtherKinds, BadInput,
    ::testing::Values(
        BadCase{"encode_size", "vae_encode", Replace("pixels", at::zeros({1, 3, 64, 60})), "W = 60; expected a multiple of the VAE's factor 8"},
        BadCase{"encode_channels", "vae_encode", Replace("pixels", at::zeros({1, 1, 64, 64})), "tensor 'pixels' has shape [1, 1, 64, 64]"},
        BadCase{"encode_nothing", "vae_encode", Replace("pixels", at::zeros({0, 3, 64, 64})), "tensor 'pixels' has shape [0, 3, 64, 64]"},
        BadCase{"decode_wrong_tensor", "vae_decode", [](Case& c) {
                  c.tensors["pixels"] = c.tensors["latents"];
                  c.tensors.erase("latents");
                }, "tensor 'latents' [N,4,h,w] is missing; tensor 'pixels' does not belong"},
        BadCase{"sampler", "sample_ddim", Set("sampler", "plms"), "'sampler' is \"plms\"; expected one of: euler_a, ddim"},
        BadCase{"no_steps", "sample_ddim", Set("steps", 0), "'steps' is 0"},
        BadCase{"many_steps", "sample_ddim", Set("steps", 1001), "'steps' is 1001"},
        BadCase{"steps_and_noise", "sample_ddim", Set("steps", 5), "tensor 'noise' has shape [11, 4, 8, 8]; expected [1+steps,4,h,w] = [6, 4, 8, 8]"},
        BadCase{"steps_that_do_not_divide", "sample_ddim_eta", [](Case& c) {
                  Set("steps", 3)(c);
                  c.tensors["noise"] = at::zeros({4, 4, 8, 8});
                }, "'steps' is 3"},
        BadCase{"eta", "sample_ddim", Set("eta", -1), "'eta' is -1"},
        BadCase{"cfg", "sample_ddim", Set("cfg", "high"), "'cfg' is \"high\""},
        BadCase{"slots_without_rows", "sample_no_rows", Poke<int64_t>("slots", 3, 0), "tensor 'slots' has 0 at [0, 3]"},
        BadCase{"three_prompts", "sample_ddim", [](Case& c) {
                  for (const char* name : {"input_ids", "slots"}) c.tensors[name] = at::full({3, 77}, -1, at::kLong);
                }, "tensor 'input_ids' has shape [3, 77]; expected [2,T] = [2, 77]"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Replay, BrokenFile_IsRefused) {
  const ScopedDir dir;
  const std::string whole =
      ReadFileOrDie(SourcePath("tests/golden/narrow_sd1/vae_decode.case.safetensors"));
  WriteFileOrDie(dir.File("cut.safetensors"), whole.substr(0, whole.size() - 1));
  const Replayed result = RunReplay(Model(), dir.File("cut.safetensors"));
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("cut.safetensors"));
  EXPECT_FALSE(result.wrote);
}

struct BadArgument {
  const char* name;
  std::vector<std::string> words;  // after "replay"
  const char* message;
};
class BadArguments : public ::testing::TestWithParam<BadArgument> {};

TEST_P(BadArguments, EndWithTwo) {
  const std::string in = SourcePath("tests/golden/narrow_sd1/vae_decode.case.safetensors");
  const Replayed result = RunReplay(Model(), in, GetParam().words);
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr(GetParam().message));
  EXPECT_FALSE(result.wrote);
}
INSTANTIATE_TEST_SUITE_P(
    Words, BadArguments,
    ::testing::Values(BadArgument{"dtype", {"--dtype", "int8"}, "--dtype"},
                      BadArgument{"device", {"--device", "tpu"}, "device 'tpu'"},
                      BadArgument{"cuda", {"--device", "cuda:99"}, "device 'cuda:99'"},
                      BadArgument{"unknown", {"--quick"}, "--quick"},
                      BadArgument{"threads", {"--threads", "0"}, "--threads"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Replay, MissingModelOrCase_IsNamed) {
  const std::string in = SourcePath("tests/golden/narrow_sd1/vae_decode.case.safetensors");
  const Replayed no_model = RunReplay("no/such/model", in);
  EXPECT_EQ(no_model.code, 2);
  EXPECT_THAT(no_model.errors, HasSubstr("there is no model 'no/such/model'"));
  const Replayed no_case = RunReplay(Model(), "no/such/case");
  EXPECT_EQ(no_case.code, 2);
  EXPECT_THAT(no_case.errors, HasSubstr("no/such/case"));
}

TEST(Replay, StepsThatDoNotDivide_TakeEveryTimestep) {
  Case value = ReadCase(SourcePath("tests/golden/narrow_sd1/sample_ddim.case.safetensors"));
  Set("steps", 3)(value);
  value.tensors["noise"] = value.tensors["noise"].narrow(0, 0, 4).contiguous();
  const ScopedDir dir;
  WriteCase(value, dir.File("case.safetensors"));
  const Replayed result = RunReplay(Model(), dir.File("case.safetensors"));
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(result.tensors.at("timesteps").numel(), 4);
}

}  // namespace
}  // namespace neolog::replay
