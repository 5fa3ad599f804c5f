#include "common/tensor_file/torch_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"
#include "common/tensor_file/zip.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
using namespace std::string_literals;

std::string Data(const std::string& name) {
  return SourcePath("tests/common/tensor_file/data/" + name);
}

std::string Text(const std::string& text) {
  return "X"s + static_cast<char>(text.size()) + "\0\0\0"s + text;
}

/// A torch file with one tensor under its root.
std::string OneTensor(const std::string& storage_type, int elements, const std::string& offset,
                      const std::string& size, const std::string& stride, const std::string& data) {
  const std::string pickle = "\x80\x02" + "ctorch._utils\n_rebuild_tensor_v2\n(("s +
                             Text("storage") + "ctorch\n" + storage_type + "\n" + Text("0") +
                             Text("cuda:0") + "K" + static_cast<char>(elements) + "tQ" + offset +
                             size + stride + "\x88" + "ccollections\nOrderedDict\n)RtR.";
  StoredZipWriter zip;
  zip.Add("m/data.pkl", pickle);
  zip.Add("m/data/0", data);
  return zip.Finish();
}

TEST(TorchFileTest, Floats_OffsetsAndStrides) {
  const std::vector<float> stored = {0, 1, 2, 3, 4, 5, 6, 7};
  const std::string data(reinterpret_cast<const char*>(stored.data()), 32);
  {
    const std::string bytes = OneTensor("FloatStorage", 8, "K\2", "K\2K\3\x86", "K\3K\1\x86", data);
    ASSERT_OK_AND_ASSIGN(const auto file, TorchFile::Parse(bytes));
    EXPECT_THAT(file->Floats(file->root()).value(), ElementsAre(2, 3, 4, 5, 6, 7));
  }
  {
    const std::string bytes = OneTensor("FloatStorage", 8, "K\1", "K\2K\3\x86", "K\1K\2\x86", data);
    ASSERT_OK_AND_ASSIGN(const auto file, TorchFile::Parse(bytes));
    EXPECT_THAT(file->Floats(file->root()).value(), ElementsAre(1, 3, 5, 2, 4, 6)) << "transposed";
  }
  {
    const std::string bytes =
        OneTensor("HalfStorage", 2, "K\0"s, "K\2\x85", "K\1\x85", "\x00\x3c\x00\xc0"s);
    ASSERT_OK_AND_ASSIGN(const auto file, TorchFile::Parse(bytes));
    EXPECT_THAT(file->Floats(file->root()).value(), ElementsAre(1, -2));
  }
}

TEST(TorchFileTest, Floats_RefusesWhatReachesOutside) {
  const std::string data(32, '\0');
  const auto floats = [](const std::string& bytes) -> absl::Status {
    auto file = TorchFile::Parse(bytes);
    if (!file.ok()) return file.status();
    return (*file)->Floats((*file)->root()).status();
  };
  const std::string big = "J\xff\xff\xff\x7f";
  EXPECT_THAT(
      floats(OneTensor("FloatStorage", 8, "K\1", "K\2K\4\x86", "K\4K\1\x86", data)),
      StatusIs(kDataLoss,
               HasSubstr("a tensor of shape [2, 4] reaches outside its storage of 8 elements")));
  EXPECT_THAT(floats(OneTensor("FloatStorage", 8, big, "K\1\x85", "K\1\x85", data)),
              StatusIs(kDataLoss, HasSubstr("reaches outside")));
  EXPECT_THAT(floats(OneTensor("FloatStorage", 8, "K\0"s, big + big + "\x86", "K\0K\0\x86"s, data)),
              StatusIs(kDataLoss, HasSubstr("reaches outside")))
      << "a stride of 0 does not make memory";
  EXPECT_THAT(floats(OneTensor("FloatStorage", 8, "K\0"s, big + big + big + "\x87",
                               big + big + big + "\x87", data)),
              StatusIs(kDataLoss, HasSubstr("reaches outside")));
  EXPECT_THAT(
      floats(OneTensor("FloatStorage", 9, "K\0"s, "K\1\x85", "K\1\x85", data)),
      StatusIs(kDataLoss, HasSubstr("the storage '0' has 32 bytes: expected 9 elements of F32")));
  EXPECT_THAT(floats(OneTensor("LongStorage", 4, "K\0"s, "K\1\x85", "K\1\x85", data)),
              StatusIs(kInvalid, HasSubstr("type I64")));
}

TEST(TorchFileTest, RefusesOtherFiles) {
  EXPECT_THAT(TorchFile::Parse("x"), StatusIs(kDataLoss, HasSubstr("no end record")));
  const auto with = [](const std::vector<std::pair<std::string, std::string>>& members) {
    StoredZipWriter zip;
    for (const auto& [name, data] : members) zip.Add(name, data);
    return zip.Finish();
  };
  EXPECT_THAT(TorchFile::Parse(with({{"a/x", ""}})),
              StatusIs(kInvalid, HasSubstr("has no data.pkl")));
  EXPECT_THAT(TorchFile::Parse(with({{"a/data.pkl", "\x80\x02N."}, {"b/data.pkl", "\x80\x02N."}})),
              StatusIs(kInvalid, HasSubstr("two data.pkl")));
  EXPECT_THAT(TorchFile::Parse(with({{"a/data.pkl", "\x80\x02N."}, {"a/byteorder", "big"}})),
              StatusIs(kInvalid, HasSubstr("'big' byte order")));
}

std::vector<float> Numbers(const TensorView& view) { return ToFloat32(view).value(); }

// Written by tests/common/tensor_file/make_files.py.
class WeightsFile : public ::testing::TestWithParam<std::string> {};

TEST_P(WeightsFile, HasTheTensorsThatWereSaved) {
  ASSERT_OK_AND_ASSIGN(const auto file, TensorFile::Open(Data(GetParam())));
  const auto& tensors = file->tensors();
  std::vector<float> table(24), transposed;
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i) / 4;
  for (size_t column = 0; column < 6; ++column) {
    for (size_t row = 0; row < 4; ++row) transposed.push_back(table[row * 6 + column]);
  }
  struct Expected {
    TensorType type;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  const auto part = [&](size_t begin, size_t end) {
    return std::vector<float>(table.begin() + static_cast<std::ptrdiff_t>(begin),
                              table.begin() + static_cast<std::ptrdiff_t>(end));
  };
  const std::map<std::string, Expected> expected = {
      {"whole", {TensorType::kFloat32, {4, 6}, table}},
      {"again", {TensorType::kFloat32, {4, 6}, table}},
      {"half", {TensorType::kFloat16, {4, 6}, table}},
      {"bfloat", {TensorType::kBFloat16, {4, 6}, table}},
      {"double", {TensorType::kFloat64, {4, 6}, table}},
      {"slice", {TensorType::kFloat32, {2, 6}, part(6, 18)}},
      {"column", {TensorType::kFloat32, {4}, {table[2], table[8], table[14], table[20]}}},
      {"transposed", {TensorType::kFloat32, {6, 4}, transposed}},
      {"parameter", {TensorType::kFloat32, {6}, part(0, 6)}},
      {"scalar", {TensorType::kFloat32, {}, {2.5f}}},
      {"empty", {TensorType::kFloat32, {0, 3}, {}}},
  };
  EXPECT_EQ(tensors.size(), expected.size() + 1);  // and "ids"
  for (const auto& [name, want] : expected) {
    ASSERT_TRUE(tensors.contains(name)) << name;
    EXPECT_EQ(tensors.at(name).type, want.type) << name;
    EXPECT_EQ(tensors.at(name).shape, want.shape) << name;
    EXPECT_EQ(Numbers(tensors.at(name)), want.values) << name;
  }
  EXPECT_EQ(tensors.at("ids").type, TensorType::kInt64);
  EXPECT_EQ(file->metadata().at("note"), "not a tensor");

  // Mapped: what is row-major in the file is not copied.
  const auto& whole = tensors.at("whole");
  EXPECT_EQ(tensors.at("slice").data.data(), whole.data.data() + 6 * sizeof(float));
  EXPECT_EQ(tensors.at("again").data.data(), whole.data.data());
}

TEST_P(WeightsFile, CutAnywhere_IsRefused) {
  const std::string bytes = ReadFileOrDie(Data(GetParam()));
  for (size_t size = 0; size < bytes.size(); ++size) {
    // Copied, so that a read behind the end is seen by sanitizers.
    const std::string cut = bytes.substr(0, size);
    EXPECT_FALSE(TensorFile::Parse(cut, "cut").ok()) << size;
  }
  EXPECT_OK(TensorFile::Parse(bytes, "whole"));
}

TEST_P(WeightsFile, DamagedAnywhere_IsRefusedOrHarmless) {
  std::string bytes = ReadFileOrDie(Data(GetParam()));
  for (size_t at = 0; at < bytes.size(); ++at) {
    bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
    if (const auto file = TensorFile::Parse(bytes, "damaged"); file.ok()) {
      for (const auto& [name, view] : (*file)->tensors()) {
        for (const std::byte b : view.data) static_cast<void>(b);
      }
    }
    bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
  }
}
INSTANTIATE_TEST_SUITE_P(All, WeightsFile,
                         ::testing::Values("weights.ckpt", "weights_legacy.ckpt",
                                           "weights_protocol4.ckpt"),
                         [](const auto& info) {
                           return info.param.substr(0, info.param.find('.'));
                         });

TEST(TensorFileTest, LightningCheckpoints_GiveTheirStateDict) {
  for (const char* name : {"lightning.ckpt", "lightning_legacy.ckpt"}) {
    ASSERT_OK_AND_ASSIGN(const auto file, TensorFile::Open(Data(name)));
    ASSERT_EQ(file->tensors().size(), 2u) << name;
    EXPECT_THAT(Numbers(file->tensors().at("model.a.weight")), ElementsAre(0, 1, 2, 3, 4, 5));
    EXPECT_THAT(Numbers(file->tensors().at("model.b")), ElementsAre(1));
    EXPECT_EQ(file->metadata().at("global_step"), "470000");
    EXPECT_EQ(file->metadata().at("pytorch-lightning_version"), "1.4.2");
  }
}

std::string Little(uint64_t value, size_t size) {
  return std::string(reinterpret_cast<const char*>(&value), size);
}

std::string Storage(const std::string& type, const std::string& key, uint32_t elements,
                    const std::string& view = "") {
  return "(" + Text("storage") + "ctorch\n" + type + "\n" + Text(key) + Text("cpu") + "J" +
         Little(elements, 4) + view + "tQ";
}

/// An entry of a dictionary: a vector of `size` from `offset` on.
std::string Vector(const std::string& name, const std::string& storage, uint32_t offset,
                   uint32_t size) {
  return Text(name) + "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + "J" + Little(offset, 4) +
         "J" + Little(size, 4) + "\x85K\1\x85\x89" + "ccollections\nOrderedDict\n)RtR";
}

// What torch before 0.4 wrote of tensors that share a storage: the storage's part has a key of its
// own, its bytes stand under the root's key.
class LegacyViewsTest : public ::testing::Test {
 protected:
  static std::string Bytes(const std::string& view) {
    const std::vector<float> stored = {0, 1, 2, 3, 4, 5, 6, 7};
    return "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03."s +
           "\x80\x02}" + Text("little_endian") + "\x88s." + "\x80\x02}(" +
           Vector("whole", Storage("FloatStorage", "9", 8, "N"), 0, 8) +
           Vector("part", Storage("FloatStorage", "9", 8, view), 1, 2) + "u." + "\x80\x02]" +
           Text("9") + "a." + Little(8, 8) +
           std::string(reinterpret_cast<const char*>(stored.data()), 32);
  }
};

TEST_F(LegacyViewsTest, BeginWhereTheySay) {
  const std::string bytes = Bytes(Text("10") + "K\4K\3\x87");
  ASSERT_OK_AND_ASSIGN(const auto file, TensorFile::Parse(bytes, "x"));
  EXPECT_THAT(Numbers(file->tensors().at("whole")), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(Numbers(file->tensors().at("part")), ElementsAre(5, 6));
}

TEST_F(LegacyViewsTest, OutsideOfTheirRoot_AreRefused) {
  EXPECT_THAT(TensorFile::Parse(Bytes(Text("10") + "K\7K\1\x87"), "x"),
              StatusIs(kDataLoss, HasSubstr("reaches outside its storage of 8 elements")));
  for (const std::string& view :
       {Text("10") + "K\x09K\1\x87", Text("10") + "J\xff\xff\xff\xffK\1\x87", "K\1"s}) {
    EXPECT_THAT(TensorFile::Parse(Bytes(view), "x"),
                StatusIs(kDataLoss, HasSubstr("a view of a storage that says no place")));
  }
}

// A checkpoint of more than 4 GB, most of it a hole: sizes and places need 64 bits.
TEST(TensorFileTest, MoreThan4GB) {
  constexpr uint32_t kElements = (1u << 30) + 4;
  const std::string pickle =
      "\x80\x02}(" + Vector("tail", Storage("FloatStorage", "0", kElements), kElements - 2, 2) +
      Vector("after", Storage("FloatStorage", "1", 2), 0, 2) + "u.";
  const auto local = [](const std::string& name) {
    return "PK\3\4" + std::string(22, '\0') + Little(name.size(), 2) + Little(0, 2) + name;
  };
  const auto entry = [](const std::string& name, uint64_t size, uint64_t at, std::string extra) {
    if (!extra.empty()) extra = Little(1, 2) + Little(extra.size(), 2) + extra;
    return "PK\1\2" + std::string(16, '\0') + Little(size, 4) + Little(size, 4) +
           Little(name.size(), 2) + Little(extra.size(), 2) + std::string(10, '\0') +
           Little(at, 4) + name + extra;
  };
  const std::string first = local("m/data.pkl") + pickle + local("m/data/0");
  const uint64_t big = first.size(), size = uint64_t{4} * kElements;
  const std::vector<float> two = {1.5, -2};
  const std::string numbers(reinterpret_cast<const char*>(two.data()), 8);
  const uint64_t second = big + size;
  std::string rest = local("m/data/1") + numbers;
  const uint64_t directory = second + rest.size();
  const uint64_t big_header = big - local("m/data/0").size();
  const std::string entries =
      entry("m/data.pkl", pickle.size(), 0, "") +
      entry("m/data/0", 0xffffffff, big_header, Little(size, 8) + Little(size, 8)) +
      entry("m/data/1", numbers.size(), 0xffffffff, Little(second, 8));
  const uint64_t end = directory + entries.size();
  rest += entries + "PK\6\6" + Little(44, 8) + std::string(12, '\0') + Little(3, 8) + Little(3, 8) +
          Little(entries.size(), 8) + Little(directory, 8) + "PK\6\7" + Little(0, 4) +
          Little(end, 8) + Little(1, 4) + "PK\5\6" + std::string(4, '\0') + Little(0xffff, 2) +
          Little(0xffff, 2) + Little(0xffffffff, 4) + Little(0xffffffff, 4) + Little(0, 2);
  const ScopedDir dir;
  {
    std::ofstream file(dir.File("big.ckpt"), std::ios::binary);
    file << first;
    file.seekp(static_cast<std::streamoff>(second - numbers.size()));
    file << numbers << rest;
    ASSERT_TRUE(file.good());
  }
  ASSERT_OK_AND_ASSIGN(const auto file, TensorFile::Open(dir.File("big.ckpt")));
  EXPECT_THAT(Numbers(file->tensors().at("tail")), ElementsAre(1.5, -2));
  EXPECT_THAT(Numbers(file->tensors().at("after")), ElementsAre(1.5, -2));
  EXPECT_EQ(file->mapped().size(), second + rest.size());
}

// torch.save(model) instead of torch.save(model.state_dict()).
TEST(TensorFileTest, WholeModel_IsNamed) {
  StoredZipWriter zip;
  zip.Add("m/data.pkl",
          "\x80\x02"
          "cmine.nets\nUNet\n)\x81}b.");
  EXPECT_THAT(TensorFile::Parse(zip.Finish(), "x"),
              StatusIs(kInvalid, HasSubstr("it holds an object of the class mine.nets.UNet")));
}

struct BadFile {
  std::string name;
  std::string message;
};
class BadFileTest : public ::testing::TestWithParam<BadFile> {};
TEST_P(BadFileTest, IsRefusedByName) {
  EXPECT_THAT(TensorFile::Open(Data(GetParam().name)),
              StatusIs(kInvalid, HasSubstr(GetParam().message)));
  EXPECT_THAT(TensorFile::Open(Data(GetParam().name)),
              StatusIs(kInvalid, HasSubstr(GetParam().name)));
}
INSTANTIATE_TEST_SUITE_P(
    Made, BadFileTest,
    ::testing::Values(BadFile{"hostile_system.ckpt", "the file wants to call posix.system"},
                      BadFile{"hostile_protocol4.ckpt", "the file wants to call builtins.eval"},
                      BadFile{"hostile_legacy.ckpt", "getattr"},
                      BadFile{"single_tensor.pt",
                              "it holds a single tensor: expected a dictionary"},
                      BadFile{"no_tensors.pt", "it holds no tensors"},
                      BadFile{"eight_bits.pt",
                              "tensor 'a': its elements are of a type that is not "
                              "read here"}),
    [](const auto& info) { return info.param.name.substr(0, info.param.name.find('.')); });

TEST(TensorFileTest, WhatIsNoWeights_IsSaid) {
  const ScopedDir dir;
  struct Case {
    std::string bytes, message;
  };
  for (const Case& c :
       {Case{"", "the file is empty"},
        Case{"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"},
        Case{"<!DOCTYPE html><html>", "a web page: the download failed"},
        Case{"\x89PNG\r\n\x1a\n....", "it is a picture"}, Case{"GGUF............", "a GGUF file"},
        Case{"\x80\x04N.............", "a pickle that torch.save did not write"},
        Case{"just some text in a file", "neither a safetensors file nor one of torch.save"}}) {
    WriteFileOrDie(dir.File("x.ckpt"), c.bytes);
    EXPECT_THAT(TensorFile::Open(dir.File("x.ckpt")), StatusIs(kInvalid, HasSubstr(c.message)));
  }
  EXPECT_THAT(TensorFile::Open(dir.File("none.ckpt")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.ckpt")));
  EXPECT_THAT(TensorFile::Open(dir.path()), StatusIs(kInvalid, HasSubstr("is not a file")));
  ASSERT_EQ(mkfifo(dir.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT(TensorFile::Open(dir.File("pipe")), StatusIs(kInvalid, HasSubstr("is not a file")))
      << "without waiting for who writes into it";
}

// A safetensors file begins with the length of its header, which may look like another format's
// sign (0x80: a pickle; "\x1f\x8b": gzip).
TEST(TensorFileTest, SafetensorsWithAnyHeaderLength_IsOne) {
  const float one = 1;
  const std::string whole =
      SerializeSafetensors({{"w", {TensorType::kFloat32, {}, std::as_bytes(std::span(&one, 1))}}},
                           {})
          .value();
  uint64_t length = 0;
  std::memcpy(&length, whole.data(), sizeof(length));
  for (const uint64_t padded : {uint64_t{0x80}, uint64_t{0x180}, uint64_t{0x8b1f}}) {
    std::string bytes(reinterpret_cast<const char*>(&padded), sizeof(padded));
    bytes += whole.substr(8, length) + std::string(padded - length, ' ') + whole.substr(8 + length);
    EXPECT_OK(TensorFile::Parse(bytes, "weights")) << padded;
  }
}

// Many tensors over one small storage, each of which has to be copied.
TEST(TensorFileTest, OverlappingTensors_MakeNoMemory) {
  std::string pickle = "\x80\x02}("s;
  for (int i = 0; i < 200; ++i) {
    pickle += Text("t" + std::to_string(i)) + "ctorch._utils\n_rebuild_tensor_v2\n((" +
              Text("storage") + "ctorch\nFloatStorage\n" + Text("0") + Text("cpu") +
              "M\0\x10tQK\0"s + "K\x40K\x40\x86" + "K\1K\x40\x86" + "\x89" +
              "ccollections\nOrderedDict\n)RtR";
  }
  pickle += "u.";
  StoredZipWriter zip;
  zip.Add("a/data.pkl", pickle);
  zip.Add("a/data/0", std::string(4 * 4096, '\0'));
  EXPECT_THAT(TensorFile::Parse(zip.Finish(), "x"), StatusIs(kInvalid, HasSubstr("overlap")));
}

// Mapped checkpoints are not read whole: a flipped bit in a weight is found by hashes, not here.
TEST(TensorFileTest, ChecksumsAreLeftToWhoReadsEverything) {
  const ScopedDir dir;
  std::string bytes = ReadFileOrDie(Data("weights.ckpt"));
  const float marker = 23.0f / 4;  // the table's last value, once as float32
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&marker), 4));
  ASSERT_NE(at, bytes.npos);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  WriteFileOrDie(dir.File("x.ckpt"), bytes);
  EXPECT_OK(TensorFile::Open(dir.File("x.ckpt")));
  EXPECT_THAT(TensorFile::Parse(bytes, "x"), StatusIs(kDataLoss, HasSubstr("checksum")));
}

}  // namespace
}  // namespace neolog
