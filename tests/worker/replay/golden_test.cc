// Every golden case of the narrow models through the command, in fp32, bf16 and fp16, against what
// the reference computed.

#include <ATen/TensorOperators.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "tests/worker/replay/run_replay.h"

namespace neolog::replay {
namespace {

using ::neolog::testing::ReadTensors;
using ::neolog::testing::Replayed;
using ::neolog::testing::RootMeanSquareError;
using ::neolog::testing::RunReplay;
using ::neolog::testing::SourcePath;

constexpr char kGolden[] = "tests/golden/";

// "narrow_sd1/train" and so on: every case of every narrow model.
std::vector<std::string> CaseNames() {
  constexpr std::string_view kEnding = ".case.safetensors";
  std::vector<std::string> names;
  for (const char* family : {"narrow_sd1/", "narrow_sd2/", "narrow_sdxl/"}) {
    for (const auto& entry :
         std::filesystem::directory_iterator(SourcePath(std::string(kGolden) + family))) {
      const std::string name = entry.path().filename();
      if (name.ends_with(kEnding))
        names.push_back(family + name.substr(0, name.size() - kEnding.size()));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The narrow model's folder: in the tree, or written once from its seed.
std::string ModelOf(const std::string& family) {
  const std::string kept = SourcePath(kGolden + family + "/model");
  if (!std::filesystem::exists(kept + "/seed.json")) return kept;
  static testing::ScopedDir scratch;
  const std::string made = scratch.File(family);
  if (!std::filesystem::exists(made)) testing::WriteSeededModel(kept, made);
  return made;
}

// Largest difference as a part of the expected tensor's largest magnitude.
double RelativeError(const at::Tensor& got, const at::Tensor& expected) {
  const double largest = expected.to(at::kDouble).abs().max().item<double>();
  const double difference =
      (got.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
  return largest > 0 ? difference / largest : difference;
}

// The replay contract's limits in fp32.
double Tolerance(const std::string& tensor) {
  if (tensor == "timesteps") return 0;
  if (tensor == "loss") return 1e-5;
  if (tensor.starts_with("grad")) return 1e-3;
  return 2e-4;  // activations
}

class Golden : public ::testing::TestWithParam<std::string> {
 protected:
  std::string Family() const { return GetParam().substr(0, GetParam().find('/')); }
  std::string Case() const { return GetParam().substr(GetParam().find('/') + 1); }
  std::string Path(const std::string& ending) const {
    return SourcePath(kGolden + GetParam() + ending);
  }
  // Runs the case and checks that exactly the expected tensors come back.
  Replayed Run(const std::vector<std::string>& more) {
    Replayed result = RunReplay(ModelOf(Family()), Path(".case.safetensors"), more);
    EXPECT_EQ(result.code, 0) << result.errors;
    EXPECT_EQ(result.errors, "");
    expected_ = ReadTensors(Path(".expected.safetensors"));
    EXPECT_EQ(result.tensors.size(), expected_.size());
    for (const auto& [name, tensor] : expected_) {
      EXPECT_EQ(result.tensors.count(name), 1u) << name;
      EXPECT_EQ(result.tensors[name].sizes(), tensor.sizes()) << name;
      EXPECT_EQ(result.tensors[name].scalar_type(), tensor.scalar_type()) << name;
    }
    return result;
  }
  std::map<std::string, at::Tensor> expected_;
};

TEST_P(Golden, Float32_IsWithinTheContract) {
  for (const char* kernel : {"flash", "matmul"}) {
    Replayed result = Run({"--attention", kernel});
    for (const auto& [name, tensor] : expected_) {
      EXPECT_LE(RelativeError(result.tensors[name], tensor), Tolerance(name))
          << name << " with " << kernel;
      if (name.starts_with("rows")) {
        EXPECT_LE((result.tensors[name] - tensor).abs().max().item<float>(), 1e-5)
            << "with " << kernel;
      }
    }
  }
}

// 16-bit types are judged by the reference's own error in the same type, on the same case.
TEST_P(Golden, SixteenBits_AreAsCloseAsTheReferencesOwn) {
  for (const std::string type : {"bf16", "fp16"}) {
    SCOPED_TRACE(type);
    std::ifstream file(SourcePath(kGolden + Family() + "/" + type + "_errors.json"));
    const auto errors = nlohmann::json::parse(file).at(Case());
    Replayed result = Run({"--dtype", type});
    for (const auto& [name, tensor] : expected_) {
      double limit = 1.2 * errors.at(name).get<double>();
      // Rows follow the gradients' signs (Adam), so a sign that flips under a tiny gradient moves a
      // row by two learning rates of 5e-3.
      if (name.starts_with("rows")) limit = std::max(0.02, limit);
      // In fp16 both sides run the VAE in fp32.
      limit = std::max(limit, Tolerance(name));
      EXPECT_LE(RootMeanSquareError(result.tensors[name], tensor), limit) << name;
    }
  }
}

TEST_P(Golden, Twice_IsTheSameBits) {
  const Replayed first = Run({}), second = Run({});
  for (const auto& [name, tensor] : first.tensors)
    EXPECT_TRUE(second.tensors.at(name).equal(tensor)) << name;
}

INSTANTIATE_TEST_SUITE_P(Narrow, Golden, ::testing::ValuesIn(CaseNames()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
});

}  // namespace
}  // namespace neolog::replay
