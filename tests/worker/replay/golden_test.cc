// Every golden case of the narrow model through the command, in fp32 and bf16, against what the
// reference computed.

#include <ATen/TensorOperators.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/replay/run_replay.h"

namespace neolog::replay {
namespace {

using ::neolog::testing::ReadTensors;
using ::neolog::testing::Replayed;
using ::neolog::testing::RunReplay;
using ::neolog::testing::SourcePath;

constexpr char kFolder[] = "tests/golden/narrow_sd1";

std::vector<std::string> CaseNames() {
  constexpr std::string_view kEnding = ".case.safetensors";
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SourcePath(kFolder))) {
    const std::string name = entry.path().filename();
    if (name.size() > kEnding.size() && name.substr(name.size() - kEnding.size()) == kEnding) {
      names.push_back(name.substr(0, name.size() - kEnding.size()));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
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
  if (tensor == "grad") return 1e-3;
  return 2e-4;  // activations
}

class Golden : public ::testing::TestWithParam<std::string> {
 protected:
  std::string Path(const std::string& ending) const {
    return SourcePath(std::string(kFolder) + "/" + GetParam() + ending);
  }
  // Runs the case and checks that exactly the expected tensors come back.
  Replayed Run(const std::vector<std::string>& more) {
    Replayed result =
        RunReplay(SourcePath(std::string(kFolder) + "/model"), Path(".case.safetensors"), more);
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
      if (name == "rows") {
        EXPECT_LE((result.tensors[name] - tensor).abs().max().item<float>(), 1e-5)
            << "with " << kernel;
      }
    }
  }
}

TEST_P(Golden, Bfloat16_IsAsCloseAsTheReferencesOwn) {
  std::ifstream file(SourcePath(std::string(kFolder) + "/bf16_errors.json"));
  const auto errors = nlohmann::json::parse(file).at(GetParam());
  Replayed result = Run({"--dtype", "bf16"});
  for (const auto& [name, tensor] : expected_) {
    // Rounding errors of two programs that round in other places: of the same size, not equal. Rows
    // follow the gradients' signs (Adam), so a sign that flips under a tiny gradient moves a row by
    // two learning rates of 5e-3.
    const double limit = name == "rows" ? std::max(0.02, 2 * errors.at(name).get<double>())
                                        : 2.5 * errors.at(name).get<double>();
    EXPECT_LE(RelativeError(result.tensors[name], tensor), limit) << name;
  }
}

TEST_P(Golden, Twice_IsTheSameBits) {
  const Replayed first = Run({}), second = Run({});
  for (const auto& [name, tensor] : first.tensors)
    EXPECT_TRUE(second.tensors.at(name).equal(tensor)) << name;
}

INSTANTIATE_TEST_SUITE_P(NarrowSd1, Golden, ::testing::ValuesIn(CaseNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace neolog::replay
