#include "common/embedding/embedding.h"

#include <gtest/gtest.h>

#include <limits>

#include "common/base/hash.h"
#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"
#include "common/tensor_file/zip.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ReadFileOrDie;
using ::neolog::testing::SourcePath;
using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Embedding Example() {
  Embedding embedding;
  embedding.name = "zesko";
  embedding.step = 350;
  embedding.vectors = 2;
  embedding.width = 3;
  embedding.values = {0.5f, -1.25f, 2, 3, -0.0f, 1e-30f};
  return embedding;
}

void ExpectSame(const Embedding& a, const Embedding& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.vectors, b.vectors);
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.values, b.values);
}

TEST(EmbeddingTest, A1111_RoundTrip) {
  for (int64_t step : {int64_t{0}, int64_t{255}, int64_t{256}, int64_t{65536}, int64_t{1} << 40}) {
    Embedding embedding = Example();
    embedding.step = step;
    embedding.checkpoint_hash = "0123456789";
    embedding.checkpoint_name = "mödel";
    ASSERT_OK_AND_ASSIGN(const std::string bytes,
                         WriteEmbedding(embedding, EmbeddingFormat::kA1111));
    ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(bytes, "x.pt"));
    ExpectSame(read, embedding);
    EXPECT_EQ(read.step, step);
    EXPECT_EQ(read.checkpoint_hash, "0123456789");
    EXPECT_EQ(read.checkpoint_name, "mödel");
  }
}

TEST(EmbeddingTest, A1111_Layout) {
  ASSERT_OK_AND_ASSIGN(const std::string bytes, WriteEmbedding(Example(), EmbeddingFormat::kA1111));
  ASSERT_OK_AND_ASSIGN(const auto members, ReadStoredZip(bytes));
  ASSERT_EQ(members.size(), 3u) << "older versions of the web UI refuse other members";
  EXPECT_EQ(members.at("archive/version"), "3\n");
  EXPECT_EQ(members.at("archive/data/0").size(), 24u);
  const std::string_view pickle = members.at("archive/data.pkl");
  size_t at = 0;
  for (const char* key : {"string_to_token", "string_to_param", "name", "step", "sd_checkpoint",
                          "sd_checkpoint_name"}) {
    at = pickle.find(key, at);
    ASSERT_NE(at, pickle.npos) << key;
  }
  // The bytes that torch 2.11 was seen to load with weights_only=True.
  EXPECT_EQ(Sha256Hex(bytes), "03a987e6cd8f6d8db356e8d7694ad9d669716fbeb7fff63a89ccaf6758ad55f8");
}

TEST(EmbeddingTest, Diffusers_RoundTripAndLayout) {
  ASSERT_OK_AND_ASSIGN(const std::string bytes,
                       WriteEmbedding(Example(), EmbeddingFormat::kDiffusers));
  ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(bytes, "x.safetensors"));
  ExpectSame(read, Example());
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Parse(bytes, "x"));
  EXPECT_THAT(file->metadata(), ElementsAre(std::pair("format", "pt")));
  EXPECT_THAT(file->tensors().at("zesko").shape, ElementsAre(2, 3)) << "[N, D], also for N = 1";
}

// Files that torch 2.11 and the original trainers' code wrote
// (tests/common/embedding/make_files.py).
struct Foreign {
  std::string file;
  std::string name;
  int64_t step;
};
class ForeignEmbeddingTest : public ::testing::TestWithParam<Foreign> {};

TEST_P(ForeignEmbeddingTest, IsRead) {
  const std::string path = "tests/common/embedding/data/" + GetParam().file;
  ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(ReadFileOrDie(SourcePath(path)), path));
  EXPECT_EQ(read.name, GetParam().name);
  EXPECT_EQ(read.step, GetParam().step);
  EXPECT_EQ(read.vectors, 2);
  EXPECT_EQ(read.width, 3);
  EXPECT_THAT(read.values, ElementsAre(0.5f, -1.25f, 2, 3, -4, 5.5f));
}
INSTANTIATE_TEST_SUITE_P(
    All, ForeignEmbeddingTest,
    ::testing::Values(Foreign{"a1111_parameter.pt", "zesko", 300},
                      Foreign{"a1111_half_slice.pt", "zesko", 7},
                      Foreign{"original_parameter_dict.pt", "original_parameter_dict", 0},
                      Foreign{"diffusers_bfloat16.bin", "<zesko>", 0}),
    [](const auto& info) { return info.param.file.substr(0, info.param.file.find('.')); });

std::string Safetensors(const std::vector<std::string>& keys, const std::vector<int64_t>& shape,
                        TensorType type = TensorType::kFloat32) {
  int64_t elements = 1;
  for (int64_t d : shape) elements *= d;
  const std::string data(static_cast<size_t>(elements) * SizeOf(type), '\0');
  std::map<std::string, TensorView> tensors;
  for (const std::string& key : keys)
    tensors[key] = {type, shape, std::as_bytes(std::span<const char>(data.data(), data.size()))};
  return SerializeSafetensors(tensors, {}).value();
}

TEST(EmbeddingTest, Safetensors_EverySingleTensorForm) {
  EXPECT_EQ(ReadEmbedding(Safetensors({"emb_params"}, {4, 8}), "dir/my word.safetensors")->name,
            "my word");
  EXPECT_EQ(ReadEmbedding(Safetensors({"emp_params"}, {4, 8}), "w.safetensors")->name, "w");
  EXPECT_EQ(ReadEmbedding(Safetensors({"<cat>"}, {8}), "w.safetensors")->name, "<cat>");
  EXPECT_EQ(ReadEmbedding(Safetensors({"<cat>"}, {8}), "w.safetensors")->vectors, 1);
  EXPECT_EQ(ReadEmbedding(Safetensors({"a"}, {2, 8}, TensorType::kBFloat16), "w")->values.size(),
            16u);
}

TEST(EmbeddingTest, RefusesWhatIsNotOneWord) {
  const auto expect = [](const std::string& bytes, absl::StatusCode code, const char* message) {
    EXPECT_THAT(
        ReadEmbedding(bytes, "dir/w.pt"),
        StatusIs(code, AllOf(HasSubstr("reading the embedding 'dir/w.pt': "), HasSubstr(message))));
  };
  expect("", kInvalid, "neither a safetensors file nor one of torch.save");
  expect("\x89PNG\r\n\x1a\n", kInvalid, "it is a picture");
  expect(Safetensors({"clip_g", "clip_l"}, {2, 8}), kInvalid, "an SDXL embedding");
  expect(Safetensors({"a", "b"}, {2, 8}), kInvalid, "it holds 2 tensors (a, b): expected one");
  expect(Safetensors({"a"}, {2, 2, 2}), kInvalid, "the tensor 'a' has 3 dimensions");
  expect(Safetensors({"a"}, {0, 8}), kInvalid, "it holds 0 vectors of width 8");
  expect(Safetensors({"a"}, {1001, 1}), kInvalid,
         "it holds 1001 vectors of width 1: expected 1 to 1000");
  expect(Safetensors({"a"}, {8}, TensorType::kInt64), kInvalid,
         "type I64 holds no floating-point numbers");
  std::string cut = Safetensors({"a"}, {2, 8});
  cut.pop_back();
  expect(cut, kDataLoss, "are not inside the 63 bytes of data");
  StoredZipWriter hostile;
  hostile.Add("archive/data.pkl",
              "\x80\x02"
              "cposix\nsystem\n.");
  expect(hostile.Finish(), kInvalid, "the file wants to call posix.system");
  StoredZipWriter list;
  list.Add("archive/data.pkl", "\x80\x02].");
  expect(list.Finish(), kInvalid, "it holds no dictionary");
  StoredZipWriter empty;
  empty.Add("archive/data.pkl", "\x80\x02}.");
  expect(empty.Finish(), kInvalid, "the file has 0 entries: expected one");
}

TEST(EmbeddingTest, BrokenNumbers_AreNeitherReadNorWritten) {
  Embedding embedding = Example();
  embedding.values[4] = std::numeric_limits<float>::quiet_NaN();
  for (EmbeddingFormat format : {EmbeddingFormat::kA1111, EmbeddingFormat::kDiffusers}) {
    EXPECT_THAT(WriteEmbedding(embedding, format),
                StatusIs(kInvalid, HasSubstr("'zesko': vector 1, element 1 is nan")));
  }
  const TensorView view{TensorType::kFloat32, {2, 3}, std::as_bytes(std::span(embedding.values))};
  ASSERT_OK_AND_ASSIGN(const std::string bytes, SerializeSafetensors({{"a", view}}, {}));
  EXPECT_THAT(ReadEmbedding(bytes, "w"),
              StatusIs(kDataLoss, HasSubstr("vector 1, element 1 is nan")));
}

TEST(EmbeddingTest, Write_RefusesMisfits) {
  Embedding embedding = Example();
  embedding.values.pop_back();
  EXPECT_THAT(WriteEmbedding(embedding, EmbeddingFormat::kA1111),
              StatusIs(kInvalid, HasSubstr("it holds 5 values: expected 2 x 3")));
  embedding = Example();
  embedding.name = "";
  EXPECT_THAT(WriteEmbedding(embedding, EmbeddingFormat::kDiffusers),
              StatusIs(kInvalid, HasSubstr("without a name")));
  embedding.name = "\xff";
  EXPECT_THAT(WriteEmbedding(embedding, EmbeddingFormat::kA1111),
              StatusIs(kInvalid, HasSubstr("not UTF-8")));
}

TEST(EmbeddingTest, Formats) {
  EXPECT_EQ(ParseEmbeddingFormat("a1111").value(), EmbeddingFormat::kA1111);
  EXPECT_EQ(FileExtension(ParseEmbeddingFormat("diffusers").value()), ".safetensors");
  EXPECT_EQ(FileExtension(EmbeddingFormat::kA1111), ".pt");
  EXPECT_THAT(ParseEmbeddingFormat("pt"),
              StatusIs(kInvalid, HasSubstr("expected a1111 or diffusers")));
}

TEST(EmbeddingTest, CheckWidth_NamesBothFamilies) {
  Embedding embedding;
  embedding.width = 1024;
  EXPECT_OK(CheckWidth(embedding, 1024, "w.pt"));
  EXPECT_THAT(
      CheckWidth(embedding, 768, "w.pt"),
      StatusIs(kInvalid,
               "the embedding 'w.pt' has vectors of width 1024 (Stable Diffusion 2), but the model "
               "takes width 768 (Stable "
               "Diffusion 1, or the first encoder of SDXL): use an embedding made for this model"));
  embedding.width = 96;
  EXPECT_THAT(CheckWidth(embedding, 768, "w.pt"),
              StatusIs(kInvalid, HasSubstr("width 96 (no model family known here)")));
}

}  // namespace
}  // namespace neolog
