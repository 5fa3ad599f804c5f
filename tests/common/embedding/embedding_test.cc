#include "common/embedding/embedding.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "common/base/hash.h"
#include "common/embedding/base64.h"
#include "common/image/png.h"
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
using std::string_literals::operator""s;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Embedding Example() {
  Embedding embedding;
  embedding.name = "zesko";
  embedding.step = 350;
  embedding.vectors = 2;
  embedding.blocks = {{3, {0.5f, -1.25f, 2, 3, -0.0f, 1e-30f}}};
  return embedding;
}

Embedding SdxlExample() {
  Embedding embedding = Example();
  embedding.blocks.push_back({2, {1.5f, 3.4028235e38f, -1e-45f, 0.1f}});
  return embedding;
}

/// Bit for bit: -0 is not 0.
void ExpectSameRows(const Embedding& a, const Embedding& b) {
  EXPECT_EQ(a.vectors, b.vectors);
  EXPECT_EQ(a.Widths(), b.Widths());
  const std::vector<float> left = a.Rows(), right = b.Rows();
  ASSERT_EQ(left.size(), right.size());
  EXPECT_EQ(std::memcmp(left.data(), right.data(), left.size() * sizeof(float)), 0);
}

void ExpectSame(const Embedding& a, const Embedding& b) {
  EXPECT_EQ(a.name, b.name);
  ExpectSameRows(a, b);
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

struct Written {
  EmbeddingFormat format;
  EmbeddingContainer container;
  bool sdxl;
  EmbeddingFormat read_as;
  bool name_stored;
};
class WrittenTest : public ::testing::TestWithParam<Written> {};

TEST_P(WrittenTest, IsReadWithTheSameBits) {
  using F = EmbeddingFormat;
  const Written& written = GetParam();
  Embedding embedding = written.sdxl ? SdxlExample() : Example();
  embedding.checkpoint_hash = "0123456789";
  ASSERT_OK_AND_ASSIGN(
      const std::string bytes,
      WriteEmbedding(embedding, written.format, {.container = written.container, .picture = ""}));
  EXPECT_EQ(bytes, *WriteEmbedding(embedding, written.format,
                                   {.container = written.container, .picture = ""}))
      << "the same embedding, the same bytes";
  ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(bytes, "dir/stem.x"));
  ExpectSameRows(read, embedding);
  EXPECT_EQ(read.format, written.read_as);
  EXPECT_EQ(read.name_stored, written.name_stored);
  EXPECT_EQ(read.name, written.name_stored ? "zesko" : "stem");
  const bool dictionary = written.format == F::kA1111 || written.format == F::kPng;
  EXPECT_EQ(read.step, dictionary ? std::optional<int64_t>(350) : std::nullopt);
  EXPECT_EQ(read.checkpoint_hash,
            dictionary ? std::optional<std::string>("0123456789") : std::nullopt);
}

std::vector<Written> AllWritten() {
  using F = EmbeddingFormat;
  using C = EmbeddingContainer;
  std::vector<Written> all = {{F::kA1111, C::kTorch, false, F::kA1111, true},
                              {F::kPng, C::kPng, false, F::kPng, true}};
  for (const C container : {C::kTorch, C::kSafetensors}) {
    all.push_back({F::kDiffusers, container, false, F::kDiffusers, true});
    all.push_back({F::kKohya, container, false, F::kKohya, false});
    all.push_back({F::kOneTrainer, container, false, F::kOneTrainer, false});
    all.push_back({F::kSdxl, container, true, F::kSdxl, false});
    all.push_back({F::kOneTrainer, container, true, F::kSdxl, false});
  }
  return all;
}

std::string NameOfWritten(const ::testing::TestParamInfo<Written>& info) {
  static constexpr const char* kContainers[] = {"Torch", "Safetensors", "Png"};
  return std::string(FactsOf(info.param.format).name) +
         kContainers[static_cast<int>(info.param.container)] + (info.param.sdxl ? "Two" : "One");
}

INSTANTIATE_TEST_SUITE_P(All, WrittenTest, ::testing::ValuesIn(AllWritten()), NameOfWritten);

TEST(EmbeddingTest, Keys) {
  const auto keys = [](const Embedding& embedding, EmbeddingFormat format) {
    const std::string bytes = WriteEmbedding(embedding, format).value();
    const auto file = SafetensorsFile::Parse(bytes, "x").value();
    std::string names;
    for (const auto& [name, tensor] : file->tensors()) names += name + " ";
    return names;
  };
  EXPECT_EQ(keys(Example(), EmbeddingFormat::kDiffusers), "zesko ");
  EXPECT_EQ(keys(Example(), EmbeddingFormat::kKohya), "emb_params ");
  EXPECT_EQ(keys(Example(), EmbeddingFormat::kOneTrainer), "emp_params ");
  EXPECT_EQ(keys(SdxlExample(), EmbeddingFormat::kOneTrainer), "clip_g clip_l ");
  EXPECT_EQ(keys(SdxlExample(), EmbeddingFormat::kSdxl), "clip_g clip_l ");
}

// Files that torch 2.11 and the original trainers' code wrote
// (tests/common/embedding/make_files.py).
struct Foreign {
  std::string file;
  EmbeddingFormat format;
  std::string name;
  bool name_stored;
  std::optional<int64_t> step;
  bool sdxl = false;
};
class ForeignEmbeddingTest : public ::testing::TestWithParam<Foreign> {};

std::string Data(const std::string& file) {
  return ReadFileOrDie(SourcePath("tests/common/embedding/data/" + file));
}

TEST_P(ForeignEmbeddingTest, IsRead) {
  const Foreign& expected = GetParam();
  ASSERT_OK_AND_ASSIGN(const Embedding read,
                       ReadEmbedding(Data(expected.file), "dir/" + expected.file));
  EXPECT_EQ(read.format, expected.format);
  EXPECT_EQ(read.name, expected.name);
  EXPECT_EQ(read.name_stored, expected.name_stored);
  EXPECT_EQ(read.step, expected.step);
  EXPECT_EQ(read.vectors, 2);
  ASSERT_EQ(read.blocks.size(), expected.sdxl ? 2u : 1u);
  EXPECT_EQ(read.blocks[0].width, 3);
  EXPECT_THAT(read.blocks[0].values, ElementsAre(0.5f, -1.25f, 2, 3, -4, 5.5f));
  if (!expected.sdxl) return;
  EXPECT_EQ(read.blocks[1].width, 4);
  EXPECT_THAT(read.blocks[1].values, ElementsAre(1.5f, 0.25f, -2, 8, 7, -6.5f, 0.125f, 1));
}
INSTANTIATE_TEST_SUITE_P(
    All, ForeignEmbeddingTest,
    ::testing::Values(
        Foreign{"a1111_parameter.pt", EmbeddingFormat::kA1111, "zesko", true, 300},
        Foreign{"a1111_half_slice.pt", EmbeddingFormat::kA1111, "zesko", true, 7},
        Foreign{"original_parameter_dict.pt", EmbeddingFormat::kOriginal, "original_parameter_dict",
                false, std::nullopt},
        Foreign{"diffusers_bfloat16.bin", EmbeddingFormat::kDiffusers, "<zesko>", true,
                std::nullopt},
        Foreign{"bare_double.bin", EmbeddingFormat::kDiffusers, "bare_double", false, std::nullopt},
        Foreign{"kohya_torch.pt", EmbeddingFormat::kKohya, "kohya_torch", false, std::nullopt},
        Foreign{"onetrainer_half.safetensors", EmbeddingFormat::kOneTrainer, "onetrainer_half",
                false, std::nullopt},
        Foreign{"sdxl_mixed.safetensors", EmbeddingFormat::kSdxl, "sdxl_mixed", false, std::nullopt,
                true},
        Foreign{"sdxl_torch.pt", EmbeddingFormat::kSdxl, "sdxl_torch", false, std::nullopt, true},
        Foreign{"carrier_text.png", EmbeddingFormat::kPng, "zesko", true, 12},
        Foreign{"carrier_pixels_repeated.png", EmbeddingFormat::kPng, "zesko", true, 12},
        Foreign{"carrier_pixels_zero_padded.png", EmbeddingFormat::kPng, "zesko", true, 12}),
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

TEST(EmbeddingTest, SafetensorsHeaderOf640Bytes_IsNoPickle) {
  std::string bytes = Safetensors({"a"}, {2, 8});
  const size_t header = static_cast<unsigned char>(bytes[0]);  // below 256
  ASSERT_EQ(bytes[1], 0);
  bytes.insert(8 + header, 640 - header, ' ');
  bytes[0] = '\x80';
  bytes[1] = '\x02';
  ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(bytes, "a.safetensors"));
  EXPECT_EQ(read.vectors, 2);
}

TEST(EmbeddingTest, Safetensors_EverySingleTensorForm) {
  EXPECT_EQ(ReadEmbedding(Safetensors({"emb_params"}, {4, 8}), "dir/my word.safetensors")->name,
            "my word");
  EXPECT_EQ(ReadEmbedding(Safetensors({"emp_params"}, {4, 8}), "w.safetensors")->name, "w");
  EXPECT_EQ(ReadEmbedding(Safetensors({"<cat>"}, {8}), "w.safetensors")->name, "<cat>");
  EXPECT_EQ(ReadEmbedding(Safetensors({"<cat>"}, {8}), "w.safetensors")->vectors, 1);
  EXPECT_EQ(ReadEmbedding(Safetensors({"a"}, {2, 8}, TensorType::kBFloat16), "w")->Rows().size(),
            16u);
}

TEST(EmbeddingTest, RefusesWhatIsNotOneWord) {
  const auto expect = [](const std::string& bytes, absl::StatusCode code, const char* message) {
    EXPECT_THAT(
        ReadEmbedding(bytes, "dir/w.pt"),
        StatusIs(code, AllOf(HasSubstr("reading the embedding 'dir/w.pt': "), HasSubstr(message))));
  };
  expect("", kInvalid, "the file is empty");
  expect("hello", kInvalid, "neither a safetensors file nor one of torch.save");
  expect("\x89PNG\r\n\x1a\n", kInvalid, "the file is cut off");
  expect("\xff\xd8\xff\xe0 JFIF...", kInvalid, "it is a picture, but no PNG");
  expect(Data("just_a_picture.png"), kInvalid, "it is just a picture");
  expect(Data("carrier_nan.png"), kDataLoss, "vector 1, element 1 is nan");
  const auto with_text = [](const std::string& json) {
    return EncodePng(Image{1, 1, "abc"}, {{"sd-ti-embedding", EncodeBase64(json)}}).value();
  };
  expect(EncodePng(Image{1, 1, "abc"}, {{"sd-ti-embedding", "!"}}).value(), kDataLoss,
         "is not base64");
  expect(with_text("{"), kDataLoss, "is no JSON");
  expect(with_text("[]"), kInvalid, "it has no string_to_param");
  expect(with_text(std::string(100, '[')), kInvalid, "nested too deeply");
  expect(with_text(R"({"string_to_param":{"a":1,"b":2}})"), kInvalid, "has 2 entries");
  expect(with_text(R"({"string_to_param":{"*":1}})"), kInvalid, "has no TORCHTENSOR");
  const auto with_tensor = [&](const std::string& lists) {
    return with_text(R"({"string_to_param":{"*":{"TORCHTENSOR":)" + lists + "}}}");
  };
  expect(with_tensor("[]"), kInvalid, "an empty one");
  expect(with_tensor("[[]]"), kInvalid, "1 vectors of width 0");
  expect(with_tensor("[[1],[2,3]]"), kInvalid, "different widths");
  expect(with_tensor("[[[1]]]"), kInvalid, "more than two dimensions");
  expect(with_tensor("[[\"1\"]]"), kInvalid, "something that is no number");
  expect(with_tensor("[[1, -Infinity]]"), kDataLoss, "vector 0, element 1 is nan");
  expect(with_tensor("[[1e300]]"), kDataLoss, "vector 0, element 0 is inf");
  expect(Safetensors({"a", "b"}, {2, 8}), kInvalid,
         "it holds 2 tensors (a, b), perhaps of several words: expected one");
  for (const auto& keys : std::vector<std::vector<std::string>>{
           {"t5"}, {"t5xxl"}, {"clip_g", "clip_l", "t5xxl"}, {"clip_g", "clip_l", "t5"}}) {
    expect(Safetensors(keys, {2, 8}), kInvalid, "it is an embedding for the T5 encoder");
  }
  expect(Safetensors({"IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", "OUT03", "OUT04",
                      "OUT05", "OUT06", "OUT07", "OUT08", "OUT09", "OUT10", "OUT11"},
                     {1, 8}),
         kInvalid, "it is a kohya XTI embedding");
  expect(Safetensors({"emp_params", "emp_params_out"}, {1, 8}), kInvalid,
         "it is a OneTrainer file with output embeddings");
  expect(Safetensors({"clip_g", "clip_g_out", "clip_l", "clip_l_out"}, {1, 8}), kInvalid,
         "it is a OneTrainer file with output embeddings");
  expect(Safetensors({"lora_unet_x.alpha", "lora_unet_x.lora_down.weight"}, {1, 8}), kInvalid,
         "it is a LoRA");
  expect(Safetensors({"<s1>", "unet.q.lora_A.weight"}, {1, 8}), kInvalid, "it is a LoRA");
  expect(Safetensors({"model.diffusion_model.x", "first_stage_model.y"}, {1, 8}), kInvalid,
         "it is the weights of a model, perhaps a whole checkpoint");
  expect(Safetensors({"text_model.x", "text_model.y"}, {1, 8}), kInvalid, "a whole checkpoint");
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
  expect(list.Finish(), kInvalid, "it holds neither a dictionary nor a tensor");
  StoredZipWriter checkpoint;
  checkpoint.Add("archive/data.pkl", "\x80\x02}X\x0a\x00\x00\x00state_dict}s."s);
  expect(checkpoint.Finish(), kInvalid, "a whole checkpoint");
  StoredZipWriter empty;
  empty.Add("archive/data.pkl", "\x80\x02}.");
  expect(empty.Finish(), kInvalid, "it holds no tensor");
  Embedding unequal = SdxlExample();
  const std::vector<float>& values = unequal.blocks[0].values;
  const auto rows = std::as_bytes(std::span(values));
  expect(SerializeSafetensors({{"clip_l", {TensorType::kFloat32, {2, 3}, rows}},
                               {"clip_g", {TensorType::kFloat32, {3, 2}, rows}}},
                              {})
             .value(),
         kInvalid, "clip_l holds 2 vectors and clip_g 3: expected the same number");
}

TEST(EmbeddingTest, BrokenNumbers_AreNeitherReadNorWritten) {
  Embedding embedding = Example();
  embedding.blocks[0].values[4] = std::numeric_limits<float>::quiet_NaN();
  for (EmbeddingFormat format : {EmbeddingFormat::kA1111, EmbeddingFormat::kPng,
                                 EmbeddingFormat::kDiffusers, EmbeddingFormat::kKohya}) {
    EXPECT_THAT(WriteEmbedding(embedding, format),
                StatusIs(kInvalid, HasSubstr("'zesko': vector 1, element 1 is nan")));
  }
  const TensorView view{
      TensorType::kFloat32, {2, 3}, std::as_bytes(std::span(embedding.blocks[0].values))};
  ASSERT_OK_AND_ASSIGN(const std::string bytes, SerializeSafetensors({{"a", view}}, {}));
  EXPECT_THAT(ReadEmbedding(bytes, "w"),
              StatusIs(kDataLoss, HasSubstr("vector 1, element 1 is nan")));
  const std::vector<float> whole = Example().Rows();
  const TensorView other{TensorType::kFloat32, {2, 3}, std::as_bytes(std::span(whole))};
  ASSERT_OK_AND_ASSIGN(const std::string two,
                       SerializeSafetensors({{"clip_g", view}, {"clip_l", other}}, {}));
  EXPECT_THAT(ReadEmbedding(two, "w"),
              StatusIs(kDataLoss, HasSubstr("vector 1, element 1 of clip_g is nan")));
}

TEST(EmbeddingTest, Write_RefusesMisfits) {
  using F = EmbeddingFormat;
  using C = EmbeddingContainer;
  const auto expect = [](const Embedding& embedding, F format, std::optional<C> container,
                         const char* message) {
    EXPECT_THAT(WriteEmbedding(embedding, format, {.container = container, .picture = ""}),
                StatusIs(kInvalid, HasSubstr(message)));
  };
  Embedding embedding = Example();
  embedding.blocks[0].values.pop_back();
  expect(embedding, F::kA1111, {}, "it holds 5 values: expected 2 x 3");
  embedding.blocks.clear();
  expect(embedding, F::kA1111, {}, "it holds rows for 0 text encoders");
  embedding = Example();
  embedding.name = "";
  expect(embedding, F::kDiffusers, {}, "without a name");
  embedding.name = "\xff";
  expect(embedding, F::kA1111, {}, "not UTF-8");
  for (const char* name : {"emb_params", "t5", "__metadata__", "string_to_param", "*"}) {
    embedding.name = name;
    expect(embedding, F::kDiffusers, {}, "means something else");
    EXPECT_OK(WriteEmbedding(embedding, F::kA1111));
  }
  for (F format : {F::kA1111, F::kPng, F::kDiffusers, F::kKohya})
    expect(SdxlExample(), format, {}, "holds rows for one text encoder, these are for 2: use sdxl");
  expect(Example(), F::kSdxl, {}, "these are for one: use a1111");
  expect(Example(), F::kOriginal, {}, "only read");
  expect(Example(), F::kA1111, C::kSafetensors, "expected a torch file (.pt, .bin)");
  expect(Example(), F::kKohya, C::kPng, "expected a .safetensors file");
  expect(Example(), F::kPng, C::kTorch, "expected a .png file");
}

TEST(EmbeddingTest, Carrier_KeepsTheGivenPicture) {
  Image photo{40, 50, std::string(40 * 50 * 3, '\0')};
  for (size_t i = 0; i < photo.rgb.size(); ++i) photo.rgb[i] = static_cast<char>(i * 7 % 251);
  const std::string png = EncodePng(photo, {}).value();
  ASSERT_OK_AND_ASSIGN(const std::string bytes, WriteEmbedding(Example(), EmbeddingFormat::kPng,
                                                               {.container = {}, .picture = png}));
  // Without its text the pixels are read.
  ASSERT_OK_AND_ASSIGN(const Image canvas, DecodePng(bytes, "x", 1'000'000));
  ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(EncodePng(canvas, {}).value(), "w.png"));
  ExpectSame(read, Example());
  EXPECT_EQ(canvas.height, 50);
  const int left = (canvas.width - 40) / 2;
  for (int y = 0; y < 50; ++y) {
    ASSERT_EQ(canvas.rgb.substr(static_cast<size_t>(y * canvas.width + left) * 3, 120),
              photo.rgb.substr(static_cast<size_t>(y) * 120, 120))
        << y;
    for (const int black : {left - 1, left + 40}) {
      EXPECT_EQ(canvas.rgb.substr(static_cast<size_t>(y * canvas.width + black) * 3, 3),
                std::string(3, '\0'));
    }
  }
  const std::string flat = EncodePng(Image{40, 4, std::string(480, 'a')}, {}).value();
  EXPECT_THAT(WriteEmbedding(Example(), EmbeddingFormat::kPng, {.container = {}, .picture = flat}),
              StatusIs(kInvalid, HasSubstr("4 rows")));
  EXPECT_THAT(WriteEmbedding(Example(), EmbeddingFormat::kPng, {.container = {}, .picture = "x"}),
              StatusIs(kInvalid, HasSubstr("cannot be decoded")));
}

TEST(EmbeddingTest, Carrier_WithABlackBorderIsRead) {
  ASSERT_OK_AND_ASSIGN(const std::string bytes, WriteEmbedding(Example(), EmbeddingFormat::kPng));
  ASSERT_OK_AND_ASSIGN(const Image canvas, DecodePng(bytes, "x", 1'000'000));
  Image framed{canvas.width + 9, canvas.height + 7, ""};
  const auto row = static_cast<size_t>(framed.width) * 3;
  framed.rgb.assign(row * static_cast<size_t>(framed.height), '\0');
  for (int y = 0; y < canvas.height; ++y) {
    const auto width = static_cast<size_t>(canvas.width) * 3;
    framed.rgb.replace(static_cast<size_t>(y + 2) * row + 4 * 3, width,
                       canvas.rgb.substr(static_cast<size_t>(y) * width, width));
  }
  ASSERT_OK_AND_ASSIGN(const Embedding read, ReadEmbedding(EncodePng(framed, {}).value(), "w.png"));
  ExpectSame(read, Example());
  const Image black{30, 30, std::string(2700, '\0')};
  EXPECT_THAT(ReadEmbedding(EncodePng(black, {}).value(), "w.png"),
              StatusIs(kInvalid, HasSubstr("just a picture")));
}

TEST(EmbeddingTest, Formats) {
  EXPECT_EQ(ParseEmbeddingFormat("a1111").value(), EmbeddingFormat::kA1111);
  EXPECT_EQ(Extension(ParseEmbeddingFormat("diffusers").value()), ".safetensors");
  EXPECT_EQ(Extension(EmbeddingFormat::kA1111), ".pt");
  for (const EmbeddingFormatFacts& facts : kEmbeddingFormats) {
    EXPECT_EQ(FactsOf(facts.format).name, facts.name) << "the table is in the enum's order";
    EXPECT_EQ(ParseEmbeddingFormat(facts.name).ok(), facts.format != EmbeddingFormat::kOriginal);
  }
  EXPECT_THAT(ParseEmbeddingFormat("pt"),
              StatusIs(kInvalid, HasSubstr("expected one of a1111, png, diffusers, kohya, sdxl, "
                                           "onetrainer")));
  EXPECT_EQ(ContainerOf("a.b/x.bin").value(), EmbeddingContainer::kTorch);
  EXPECT_EQ(ContainerOf("x.pt").value(), EmbeddingContainer::kTorch);
  EXPECT_EQ(ContainerOf("x.safetensors").value(), EmbeddingContainer::kSafetensors);
  EXPECT_EQ(ContainerOf("x.png").value(), EmbeddingContainer::kPng);
  EXPECT_THAT(ContainerOf("x.ckpt"), StatusIs(kInvalid, HasSubstr("expected .pt")));
}

TEST(EmbeddingTest, Base64) {
  const std::pair<const char*, const char*> kVectors[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"}};  // RFC 4648, section 10
  for (const auto& [bytes, text] : kVectors) {
    EXPECT_EQ(EncodeBase64(bytes), text);
    EXPECT_EQ(DecodeBase64(text), bytes);
  }
  EXPECT_EQ(DecodeBase64("Zm9v\r\nYg==\n"), "foob");
  for (const char* text : {"Z", "Zg=", "Zg==Zg==", "=g==", "Z===", "Zm9v!A==", "===="})
    EXPECT_EQ(DecodeBase64(text), std::nullopt) << text;
}

TEST(EmbeddingTest, CheckWidths_NamesBothFamilies) {
  Embedding embedding;
  embedding.blocks = {{1024, {}}};
  EXPECT_OK(CheckWidths(embedding, {1024}, "w.pt"));
  EXPECT_THAT(
      CheckWidths(embedding, {768}, "w.pt"),
      StatusIs(kInvalid,
               "the embedding 'w.pt' has vectors of width 1024 (Stable Diffusion 2), but the model "
               "takes width 768 (Stable "
               "Diffusion 1, or the first encoder of SDXL): use an embedding made for this model"));
  EXPECT_THAT(CheckWidths(embedding, {768, 1280}, "w.pt"),
              StatusIs(kInvalid, HasSubstr("but the model takes width 768 and 1280 (SDXL)")));
  embedding.blocks = {{768, {}}, {1280, {}}};
  EXPECT_OK(CheckWidths(embedding, {768, 1280}, "w.pt"));
  EXPECT_THAT(CheckWidths(embedding, {768}, "w.pt"),
              StatusIs(kInvalid, HasSubstr("width 768 and 1280 (SDXL), but the model")));
  embedding.blocks = {{96, {}}};
  EXPECT_THAT(CheckWidths(embedding, {768}, "w.pt"),
              StatusIs(kInvalid, HasSubstr("width 96 (no model family known here)")));
}

}  // namespace
}  // namespace neolog
