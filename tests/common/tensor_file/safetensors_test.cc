#include "common/tensor_file/safetensors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "common/tensor_file/half.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::ScopedDir;
using ::neolog::testing::StatusIs;
using ::neolog::testing::WriteFileOrDie;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string WithHeader(std::string_view header, size_t data_bytes) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xff));
  bytes += header;
  bytes.append(data_bytes, '\0');
  return bytes;
}

std::string OneTensor(std::string_view dtype, std::string_view shape, std::string_view offsets,
                      size_t data_bytes) {
  return WithHeader(
      fmt::format(R"({{"a":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets),
      data_bytes);
}

TEST(SafetensorsTest, RoundTrip) {
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> ids = {7};
  const std::vector<uint8_t> mask = {1, 0, 1};
  const std::map<std::string, TensorView> tensors = {
      {"rows", {TensorType::kFloat32, {2, 3}, std::as_bytes(std::span(rows))}},
      {"ids", {TensorType::kInt64, {}, std::as_bytes(std::span(ids))}},
      {"mask", {TensorType::kBool, {3}, std::as_bytes(std::span(mask))}},
      {"none", {TensorType::kFloat16, {0, 4}, {}}}};
  ASSERT_OK_AND_ASSIGN(const std::string bytes,
                       SerializeSafetensors(tensors, {{"key", "a \"value\"\n"}}));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Parse(bytes, "memory"));
  EXPECT_THAT(file->metadata(), ElementsAre(std::pair("key", "a \"value\"\n")));
  ASSERT_EQ(file->tensors().size(), 4u);
  const TensorView& read = file->tensors().at("rows");
  EXPECT_EQ(read.type, TensorType::kFloat32);
  EXPECT_THAT(read.shape, ElementsAre(2, 3));
  ASSERT_OK_AND_ASSIGN(const auto values, ToFloat32(read));
  EXPECT_EQ(values, rows);
  EXPECT_THAT(file->tensors().at("ids").shape, ElementsAre());
  EXPECT_EQ(file->tensors().at("ids").data.size(), 8u);
  EXPECT_EQ(file->tensors().at("none").data.size(), 0u);
}

TEST(SafetensorsTest, Serialize_SameBytesEachTime_DataAligned) {
  const std::vector<float> values = {1};
  const TensorView view{TensorType::kFloat32, {1}, std::as_bytes(std::span(values))};
  ASSERT_OK_AND_ASSIGN(const std::string bytes,
                       SerializeSafetensors({{"b", view}, {"a", view}}, {{"m", "n"}}));
  const std::string header =
      R"({"__metadata__":{"m":"n"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
  std::string padded = header;
  padded.resize((header.size() + 7) / 8 * 8, ' ');
  std::string expected = WithHeader(padded, 0);
  expected += std::string("\0\0\x80\x3f", 4) + std::string("\0\0\x80\x3f", 4);
  EXPECT_EQ(bytes, expected);
  EXPECT_EQ((bytes.size() - 8) % 8, 0u);
}

TEST(SafetensorsTest, Serialize_RefusesWhatItCouldNotRead) {
  const std::vector<float> values = {1};
  const TensorView good{TensorType::kFloat32, {1}, std::as_bytes(std::span(values))};
  EXPECT_THAT(SerializeSafetensors({{"a", {TensorType::kFloat32, {2}, good.data}}}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tensor 'a': F32 [2] does not fit its 4 bytes")));
  EXPECT_THAT(SerializeSafetensors({{"a", {TensorType::kFloat32, {-1}, good.data}}}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensor 'a'")));
  EXPECT_THAT(SerializeSafetensors({{"__metadata__", good}}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be named")));
  EXPECT_THAT(SerializeSafetensors({{"\xff", good}}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not UTF-8")));
}

TEST(SafetensorsTest, Open_ReadsAMappedFile) {
  ScopedDir dir;
  WriteFileOrDie(dir.File("a.safetensors"), OneTensor("\"F32\"", "[2]", "[0,8]", 8));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(dir.File("a.safetensors")));
  EXPECT_EQ(file->tensors().at("a").data.size(), 8u);
}

TEST(SafetensorsTest, Open_NamesThePath) {
  ScopedDir dir;
  EXPECT_THAT(SafetensorsFile::Open(dir.File("none")),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr(dir.File("none")), HasSubstr("No such file"))));
  EXPECT_THAT(SafetensorsFile::Open(dir.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not a file")));
  WriteFileOrDie(dir.File("empty"), "");
  EXPECT_THAT(SafetensorsFile::Open(dir.File("empty")),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr(dir.File("empty")), HasSubstr("byte 0:"))));
}

struct BadFile {
  std::string name;
  std::string bytes;
  std::string message;
};

class SafetensorsBadFileTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(SafetensorsBadFileTest, IsRefusedWithTheByteOffset) {
  EXPECT_THAT(SafetensorsFile::Parse(GetParam().bytes, "bad.safetensors"),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("reading 'bad.safetensors': "),
                                                          HasSubstr(GetParam().message))));
}

std::vector<BadFile> BadFiles() {
  const std::string ok = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  std::string truncated = OneTensor("\"F32\"", "[2]", "[0,8]", 8);
  truncated.pop_back();
  std::string length_beyond = WithHeader("{}", 0);
  length_beyond[0] = 3;
  std::string length_huge(16, '\xff');
  return {
      {"Empty", "", "byte 0: the file ends inside the 8-byte header length"},
      {"ShortLength", std::string(7, '\0'), "byte 7: the file ends inside"},
      {"HeaderBeyondFile", length_beyond,
       "byte 0: the header's length, 3 bytes, goes beyond the file's 10 bytes"},
      {"HeaderOverCap", length_huge,
       "byte 0: the header's length, 18446744073709551615 bytes, is over the limit"},
      {"ZeroHeader", std::string(8, '\0'), "byte 8: the header does not start with '{'"},
      {"NotJson", WithHeader("{\"a\":}", 0), "byte 13: the header is not JSON: syntax error"},
      {"TrailingJson", WithHeader("{} {}", 0), "byte 11: the header is not JSON"},
      {"NulByte", WithHeader(std::string_view("{}\0x", 4), 0),
       "byte 10: the header has a NUL byte"},
      {"CutJson", WithHeader("{\"a\":{", 0), "the header is not JSON: syntax error"},
      {"BadUtf8", WithHeader("{\"\xff\":1}", 0), "byte 10: the header is not JSON"},
      {"TopLevelList", WithHeader("[]", 0), "byte 8: the header does not start with '{'"},
      {"TooDeep", WithHeader("{\"a\":{\"shape\":[[", 0),
       "byte 23: the header has nesting deeper than 3 levels"},
      {"LongNumber", WithHeader("{\"a\":" + std::string(5000, '1') + "}", 0),
       "byte 13: the header has a number longer than 32"},
      {"DuplicateTensor", WithHeader("{" + ok + "," + ok + "}", 4),
       "byte 61: entry 'a': the tensor is named twice"},
      {"DuplicateMetadata", WithHeader(R"({"__metadata__":{},"__metadata__":{}})", 0),
       "byte 27: entry '__metadata__': the key appears twice"},
      {"DuplicateMetadataKey", WithHeader(R"({"__metadata__":{"k":"1","k":"2"}})", 0),
       "byte 33: entry '__metadata__': the metadata key 'k' appears twice"},
      {"DuplicateField", WithHeader(R"({"a":{"dtype":"U8","dtype":"U8"}})", 0),
       "byte 27: entry 'a': the key 'dtype' appears twice"},
      {"UnknownField", WithHeader(R"({"a":{"type":"U8"}})", 0),
       "byte 14: entry 'a': unknown key 'type'"},
      {"MissingField", WithHeader(R"({"a":{"dtype":"U8","shape":[4]}})", 4),
       "entry 'a': 'dtype', 'shape' or 'data_offsets' is missing"},
      {"EntryIsNumber", WithHeader(R"({"a":1})", 0),
       "byte 9: entry 'a': expected an object, found a number"},
      {"MetadataIsNull", WithHeader(R"({"__metadata__":null})", 0),
       "byte 9: entry '__metadata__': expected an object, found null"},
      {"MetadataNotString", WithHeader(R"({"__metadata__":{"k":1}})", 0),
       "entry '__metadata__': metadata values are strings, found a number"},
      {"MetadataNested", WithHeader(R"({"__metadata__":{"k":{}}})", 0),
       "metadata values are strings, found an object"},
      {"UnknownDtype", OneTensor("\"F12\"", "[4]", "[0,4]", 4),
       "byte 14: entry 'a': unknown dtype 'F12'"},
      {"DtypeNotString", OneTensor("8", "[4]", "[0,4]", 4),
       "byte 14: entry 'a': unexpected value of 'dtype': a number"},
      {"NegativeDimension", OneTensor("\"U8\"", "[-4]", "[0,4]", 4),
       "entry 'a': 'shape' lists non-negative integers, found a negative number"},
      {"FractionalDimension", OneTensor("\"U8\"", "[4.0]", "[0,4]", 4),
       "'shape' lists non-negative integers"},
      {"DimensionOver63Bits", OneTensor("\"U8\"", "[9223372036854775808]", "[0,4]", 4),
       "a dimension does not fit 63 bits"},
      {"DimensionOver64Bits", OneTensor("\"U8\"", "[18446744073709551616]", "[0,4]", 4),
       "'shape' lists non-negative integers"},
      {"SizeOverflow", OneTensor("\"F32\"", "[4294967296,4294967296]", "[0,0]", 0),
       "byte 9: entry 'a': F32 [4294967296, 4294967296] needs more than 2^64 bytes"},
      {"SizeOverflowToZero", OneTensor("\"F32\"", "[4611686018427387904]", "[0,0]", 0),
       "needs more than 2^64 bytes"},
      {"TooManyDimensions", OneTensor("\"U8\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]", 1),
       "more than 16 dimensions"},
      {"OneOffset", OneTensor("\"U8\"", "[4]", "[4]", 4),
       "entry 'a': 'data_offsets' needs two numbers"},
      {"ThreeOffsets", OneTensor("\"U8\"", "[4]", "[0,4,4]", 4),
       "'data_offsets' has more than two numbers"},
      {"BackwardOffsets", OneTensor("\"U8\"", "[4]", "[4,0]", 4),
       "byte 9: entry 'a': data_offsets [4, 0] are not inside the 4 bytes of data"},
      {"OffsetsBeyondData", OneTensor("\"U8\"", "[5]", "[0,5]", 4),
       "byte 9: entry 'a': data_offsets [0, 5] are not inside"},
      {"HugeOffsets", OneTensor("\"U8\"", "[0]", "[18446744073709551615,18446744073709551615]", 0),
       "are not inside the 0 bytes"},
      {"TruncatedData", truncated,
       "byte 9: entry 'a': data_offsets [0, 8] are not inside the 7 bytes of data"},
      {"SizeMismatch", OneTensor("\"F32\"", "[2]", "[0,4]", 4),
       "byte 9: entry 'a': F32 [2] needs 8 bytes, data_offsets hold 4"},
      {"Overlap",
       WithHeader("{" + ok + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})", 7),
       "byte 61: entry 'b' overlaps the data before it: it starts at data byte 3, expected 4"},
      {"Gap", WithHeader("{" + ok + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})", 7),
       "byte 61: entry 'b' leaves a gap after the data before it: it starts at data byte 5, "
       "expected 4"},
      {"GapAtStart", OneTensor("\"U8\"", "[3]", "[1,4]", 4),
       "it starts at data byte 1, expected 0"},
      {"DataAfterTheEnd", WithHeader("{" + ok + "}", 6), "byte 65: 2 bytes follow the last tensor"},
      {"DataWithoutTensors", WithHeader("{}", 1), "byte 10: 1 bytes follow the last tensor"},
      {"ControlCharactersInName", WithHeader(R"({"\u001b[2J":1})", 0),
       "entry '?[2J': expected an object"},
  };
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsBadFileTest, ::testing::ValuesIn(BadFiles()),
                         [](const auto& info) { return info.param.name; });

// A header of the largest permitted size, hostile in three ways, must not make the reader take
// memory that grows with it.
TEST(SafetensorsTest, HostileHeader_IsRefusedInConstantMemory) {
  const auto peak_kb = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const std::string one_string = WithHeader("{\"" + std::string(90'000'000, 'a') + "\":1}", 0);
  const std::string deep = WithHeader(std::string("{") + std::string(90'000'000, '['), 0);
  std::string number = "{\"a\":";
  number.append(90'000'000, '1');
  const std::string one_number = WithHeader(number + "}", 0);
  number.clear();
  number.shrink_to_fit();
  const long before = peak_kb();
  for (const std::string* bytes : {&one_string, &deep, &one_number}) {
    EXPECT_THAT(SafetensorsFile::Parse(*bytes, "hostile"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the header has")));
  }
  EXPECT_LT(peak_kb() - before, 16'000);  // far below the 90 MB of each header
}

}  // namespace
}  // namespace neolog
