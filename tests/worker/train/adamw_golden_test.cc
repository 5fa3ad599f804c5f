#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "common/tensor_file/safetensors.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"
#include "worker/train/adamw.h"

namespace neolog::train {
namespace {

template <typename T>
std::vector<T> Values(const SafetensorsFile& file, const std::string& name) {
  const std::span<const std::byte> data = file.tensors().at(name).data;
  std::vector<T> values(data.size() / sizeof(T));
  std::memcpy(values.data(), data.data(), data.size());
  return values;
}

float UnitInTheLastPlace(float x) {
  const float magnitude = std::max(std::abs(x), std::numeric_limits<float>::min());
  return std::nextafter(magnitude, std::numeric_limits<float>::infinity()) - magnitude;
}

// Trajectories of torch.optim.AdamW, written by tests/reference/make_adamw.py.
TEST(AdamWGoldenTest, MomentsEqualTorchs_RowsDifferByItsSquareRoot) {
  ASSERT_OK_AND_ASSIGN(
      const auto file,
      SafetensorsFile::Open(neolog::testing::SourcePath("tests/golden/adamw.safetensors")));
  const auto settings = nlohmann::json::parse(file->metadata().at("neolog.adamw"));
  ASSERT_FALSE(settings.empty());
  for (const auto& [name, setting] : settings.items()) {
    SCOPED_TRACE(name);
    const AdamWOptions options{setting["beta1"], setting["beta2"], setting["eps"],
                               setting["weight_decay"]};
    std::vector<float> rows = Values<float>(*file, name + ".start");
    const size_t n = rows.size();
    std::vector<float> m(n), v(n), allowed(n, 0.0f);
    const auto gradients = Values<float>(*file, name + ".grad");
    const auto rates = Values<double>(*file, name + ".lr");
    const auto expected = Values<float>(*file, name + ".rows");
    size_t equal = 0;
    for (size_t k = 0; k < rates.size(); ++k) {
      AdamWStep(options, rates[k], k + 1, std::span(gradients).subspan(k * n, n), {rows, m, v});
      for (size_t i = 0; i < n; ++i) {
        const float golden = expected[k * n + i];
        // A root that is one unit off moves an update by at most 2^-22 of itself, and the sum by
        // one unit more. Updates of AdamW are below ten times the rate here.
        allowed[i] += UnitInTheLastPlace(golden) + static_cast<float>(10 * rates[k]) * 0x1p-22f;
        ASSERT_NEAR(rows[i], golden, allowed[i]) << "step " << k + 1 << ", value " << i;
        equal += rows[i] == golden;
      }
    }
    EXPECT_EQ(m, Values<float>(*file, name + ".m"));
    EXPECT_EQ(v, Values<float>(*file, name + ".v"));
    // Most values are the same to the bit, so the order of operations is torch's.
    EXPECT_GT(equal, expected.size() * 3 / 4);
  }
}

}  // namespace
}  // namespace neolog::train
