#include "worker/torch_support/weights.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "common/tensor_file/safetensors.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "worker/torch_support/gradient.h"
#include "worker/torch_support/tensors.h"

namespace neolog::torch_support {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr c10::DeviceType kCpu = c10::DeviceType::CPU;

// A file with "block.0.weight" [2, 3] = 0..5, "block.0.bias" [2] = 7, 8 and "block.position_ids"
// I64.
std::string WriteWeights(const ScopedDir& dir) {
  std::vector<float> weight(6), bias{7, 8};
  std::iota(weight.begin(), weight.end(), 0.f);
  const int64_t ids[] = {0, 1};
  const auto bytes = SerializeSafetensors(
      {{"block.0.weight", {TensorType::kFloat32, {2, 3}, std::as_bytes(std::span(weight))}},
       {"block.0.bias", {TensorType::kFloat32, {2}, std::as_bytes(std::span(bias))}},
       {"block.position_ids", {TensorType::kInt64, {2}, std::as_bytes(std::span(ids))}}},
      {});
  const std::string path = dir.File("model.safetensors");
  WriteFileOrDie(path, *bytes);
  return path;
}

TEST(WeightMap, RightTypeAndShape_IsReadWithoutCopy) {
  const ScopedDir dir;
  ASSERT_OK_AND_ASSIGN(auto weights, WeightMap::Open(WriteWeights(dir)));
  const WeightReader reader = WeightReader(*weights, at::kFloat, kCpu) / "block" / 0;
  const at::Tensor first = reader.Get("weight", {2, 3}), second = reader.Get("weight", {2, 3});
  EXPECT_EQ(first.const_data_ptr(), second.const_data_ptr());
  EXPECT_FALSE(first.requires_grad());
  EXPECT_EQ(first[1][2].item<float>(), 5);
  reader.Get("bias", {2});
  EXPECT_OK(weights->Finish({"position_ids"}));
  weights.reset();
  EXPECT_EQ(first[0][1].item<float>(), 1);  // the mapping lives as long as a tensor over it
}

TEST(WeightMap, OtherType_IsCastOnce) {
  const ScopedDir dir;
  ASSERT_OK_AND_ASSIGN(auto weights, WeightMap::Open(WriteWeights(dir)));
  const WeightReader reader = WeightReader(*weights, at::kBFloat16, kCpu) / "block" / 0;
  EXPECT_EQ(reader.Get("weight", {2, 3}).scalar_type(), at::kBFloat16);
  EXPECT_EQ(reader.As(at::kFloat).Get("bias", {2}).scalar_type(), at::kFloat);
}

TEST(WeightMap, ReleasedPages_AreReadAgain) {
  const ScopedDir dir;
  std::vector<float> values(1 << 16);
  std::iota(values.begin(), values.end(), 0.f);
  const std::string path = dir.File("model.safetensors");
  WriteFileOrDie(
      path, SerializeSafetensors(
                {{"w", {TensorType::kFloat32, {1 << 16}, std::as_bytes(std::span(values))}}}, {})
                .value());
  ASSERT_OK_AND_ASSIGN(auto weights, WeightMap::Open(path));
  const at::Tensor before = weights->Take("w", {1 << 16}).clone();
  weights->Release(weights->Take("w", {1 << 16}));
  EXPECT_TRUE(weights->Take("w", {1 << 16}).equal(before));

  // Memory that is no file's is left alone.
  const auto in_memory = WeightMap::Of({{"w", before}}, "memory");
  in_memory->Release(before);
  EXPECT_EQ(before[12345].item<float>(), 12345.f);
}

TEST(WeightMap, TableOfSlicesAndTransposes_IsReadAsTheModelNeedsIt) {
  const ScopedDir dir;
  std::vector<float> values(6);
  std::iota(values.begin(), values.end(), 0.f);
  const std::string path = dir.File("model.safetensors");
  WriteFileOrDie(
      path, SerializeSafetensors(
                {{"fused", {TensorType::kFloat32, {3, 2}, std::as_bytes(std::span(values))}}}, {})
                .value());
  ASSERT_OK_AND_ASSIGN(std::shared_ptr<const TensorFile> file, TensorFile::Open(path));
  const TensorView whole = file->tensors().at("fused");
  WeightTable table;
  table["last"] = {SliceOf(whole, 2, 3).value(), false, "fused", file};
  table["turned"] = {whole, true, "fused", file};
  ASSERT_OK_AND_ASSIGN(auto weights, WeightMap::OfTable(table, "model"));
  table.clear();
  file.reset();
  const WeightReader reader(*weights, at::kFloat, kCpu);
  const at::Tensor last = reader.Get("last", {1, 2}), turned = reader.Get("turned", {2, 3});
  EXPECT_TRUE(last.equal(at::tensor({4.f, 5.f}).view({1, 2})));
  EXPECT_TRUE(turned.equal(at::tensor({0.f, 2.f, 4.f, 1.f, 3.f, 5.f}).view({2, 3})));
  EXPECT_TRUE(turned.is_contiguous());
  weights->Release(last);
  weights->Release(turned);
  EXPECT_EQ(turned[1][2].item<float>(), 5);
  EXPECT_EQ(last[0][1].item<float>(), 5);
  EXPECT_OK(weights->Finish({}));
}

TEST(WeightMap, NumberThatTheTypeCannotHold_IsNamedWhenItIsCast) {
  const at::Tensor values = at::tensor({1.f, 1e6f});
  const auto weights = WeightMap::Of({{"w", values}, {"v", values * NAN}}, "memory");
  const WeightReader reader(*weights, at::kFloat, kCpu);
  reader.Get("w", {2});
  reader.Get("v", {2});
  EXPECT_OK(weights->Finish({})) << "what is not cast is not read";
  reader.As(at::kHalf).Get("w", {2});
  reader.As(at::kBFloat16).Get("v", {2});
  EXPECT_THAT(weights->Finish({}), StatusIs(absl::StatusCode::kInvalidArgument,
                                            AllOf(HasSubstr("'w' holds 1000000, beyond F16's"),
                                                  HasSubstr("'v' holds NaN or infinity"))));
}

TEST(WeightMap, EverythingWrong_IsReportedAtOnce) {
  const ScopedDir dir;
  const std::string path = WriteWeights(dir);
  ASSERT_OK_AND_ASSIGN(auto weights, WeightMap::Open(path));
  const WeightReader reader = WeightReader(*weights, at::kFloat, kCpu) / "block";
  EXPECT_FALSE((reader / 0).Get("weight", {3, 2}).defined());
  EXPECT_FALSE((reader / 1).Get("weight", {2, 3}).defined());
  EXPECT_FALSE(reader.Get("position_ids", {2}).defined());
  EXPECT_THAT(
      weights->Finish({}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr(path),
                     HasSubstr("'block.0.weight' has shape [2, 3], but config.json implies [3, 2]"),
                     HasSubstr("'block.1.weight' is missing (expected shape [2, 3])"),
                     HasSubstr("'block.position_ids' is not a floating-point tensor"),
                     HasSubstr("'block.0.bias' is there, but config.json has no such part"))));
}

TEST(WeightMap, ManyProblems_AreCutAtTen) {
  const auto weights = WeightMap::Of({}, "empty");
  for (int i = 0; i < 15; ++i) weights->Take("k" + std::to_string(i), {1});
  EXPECT_THAT(weights->Finish({}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("'k9'"), Not(HasSubstr("'k10'")), HasSubstr("5 more"))));
  EXPECT_EQ(weights->asked().size(), 15u);
}

TEST(WeightMap, MissingFile_IsNotFound) {
  EXPECT_THAT(WeightMap::Open("no/such/file.safetensors"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such/file.safetensors")));
}

TEST(TensorOver, MisalignedMemory_IsCopied) {
  alignas(8) std::byte bytes[20] = {};
  const float values[] = {1.5f, -2.5f};
  std::memcpy(bytes + 2, values, sizeof(values));
  const at::Tensor tensor =
      TensorOver({TensorType::kFloat32, {2}, std::span(bytes).subspan(2, 8)}, nullptr);
  EXPECT_NE(tensor.const_data_ptr(), static_cast<const void*>(bytes + 2));
  EXPECT_EQ(tensor[1].item<float>(), -2.5f);
}

TEST(ViewOf, EveryType_ComesBack) {
  for (const TensorType type :
       {TensorType::kBool, TensorType::kUint8, TensorType::kInt8, TensorType::kInt16,
        TensorType::kInt32, TensorType::kInt64, TensorType::kFloat16, TensorType::kBFloat16,
        TensorType::kFloat32, TensorType::kFloat64}) {
    const at::Tensor tensor = at::tensor({1, 0, 1}, at::kInt).to(ScalarTypeOf(type));
    ASSERT_OK_AND_ASSIGN(const TensorView view, ViewOf(tensor));
    EXPECT_EQ(view.type, type);
    EXPECT_TRUE(at::equal(TensorOver(view, nullptr), tensor)) << NameOf(type);
  }
  EXPECT_THAT(ViewOf(at::tensor({1, 2, 3, 4}, at::kInt).view({2, 2}).t()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("contiguous")));
}

TEST(GradientOf, LossWithoutTheLeaf_IsZero) {
  const at::Tensor leaf = at::tensor({1.f, 2.f}).set_requires_grad(true);
  const at::Tensor other = at::tensor({3.f}).set_requires_grad(true);
  EXPECT_TRUE(at::equal(GradientOf(leaf.square().sum(), leaf), at::tensor({2.f, 4.f})));
  EXPECT_TRUE(at::equal(GradientOf(other.sum(), leaf), at::tensor({0.f, 0.f})));
  EXPECT_TRUE(at::equal(GradientOf(at::tensor(1.f), leaf), at::tensor({0.f, 0.f})));
}

}  // namespace
}  // namespace neolog::torch_support
