#include "common/tensor_file/pickle.h"

#include <gtest/gtest.h>

#include "common/tensor_file/zip.h"
#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
using Kind = PickleValue::Kind;
using namespace std::string_literals;

std::string Text(const std::string& text) {
  return "X"s + static_cast<char>(text.size()) + "\0\0\0"s + text;
}

TEST(PickleTest, PlainValues) {
  ASSERT_OK_AND_ASSIGN(
      const auto pickle,
      Pickle::Parse("\x80\x02}q\0("s + Text("a") + "K\xff" + Text("b") + "M\x09\x01"s + Text("c") +
                    "J\xff\xff\xff\xff"s + Text("d") + "\x8a\x02\0\x80"s + Text("e") +
                    "G\x3f\xf8\0\0\0\0\0\0"s + Text("f") + "\x88" + Text("g") + "N" + Text("h") +
                    "](K\1K\2e" + Text("i") + "K\1K\2\x86" + "u."));
  const PickleValue& root = pickle->root();
  ASSERT_EQ(root.kind, Kind::kDict);
  EXPECT_EQ(FindInDict(root, "a")->integer, 255);
  EXPECT_EQ(FindInDict(root, "b")->integer, 265);
  EXPECT_EQ(FindInDict(root, "c")->integer, -1);
  EXPECT_EQ(FindInDict(root, "d")->integer, -32768);
  EXPECT_EQ(FindInDict(root, "e")->number, 1.5);
  EXPECT_EQ(FindInDict(root, "f")->kind, Kind::kBool);
  EXPECT_EQ(FindInDict(root, "g")->kind, Kind::kNone);
  EXPECT_EQ(FindInDict(root, "h")->items.size(), 2u);
  EXPECT_EQ(FindInDict(root, "i")->kind, Kind::kTuple);
  EXPECT_EQ(FindInDict(root, "z"), nullptr);
  EXPECT_EQ(FindInDict(*FindInDict(root, "a"), "a"), nullptr);
}

TEST(PickleTest, RepeatedKey_TheLastCounts) {
  ASSERT_OK_AND_ASSIGN(const auto pickle,
                       Pickle::Parse("\x80\x02}("s + Text("a") + "K\1" + Text("a") + "K\2u."));
  EXPECT_EQ(FindInDict(pickle->root(), "a")->integer, 2);
}

TEST(PickleTest, CyclicValues_AreNoTrouble) { EXPECT_OK(Pickle::Parse("\x80\x02]q\0h\0a."s)); }

struct BadPickle {
  std::string name;
  std::string bytes;
  absl::StatusCode code;
  std::string message;
};
class BadPickleTest : public ::testing::TestWithParam<BadPickle> {};

TEST_P(BadPickleTest, IsRefused) {
  EXPECT_THAT(Pickle::Parse(GetParam().bytes),
              StatusIs(GetParam().code, HasSubstr(GetParam().message)));
}

std::vector<BadPickle> BadPickles() {
  const std::string p = "\x80\x02";
  return {
      // What hostile files do.
      {"System", p + "cposix\nsystem\nX\x02\0\0\0id\x85R."s, kInvalid,
       "pickle byte 2: the file wants to use 'posix.system'"},
      {"Eval", p + "c__builtin__\neval\n.", kInvalid, "the file wants to use '__builtin__.eval'"},
      {"Getattr", p + "cbuiltins\ngetattr\n.", kInvalid,
       "'builtins.getattr', which an embedding or checkpoint does not need; it may be malicious"},
      {"LoadFromBytes", p + "ctorch.storage\n_load_from_bytes\n.", kInvalid,
       "'torch.storage._load_from_bytes'"},
      {"SpaceInModule", p + "ctorch FloatStorage\n\n.", kInvalid,
       "the file wants to use 'torch FloatStorage.'"},
      {"ControlCharacters", p + "cos\x1b[2J\nx\n.", kInvalid, "'os?[2J.x'"},
      {"Inst", p + "(ios\nsystem\n.", kInvalid, "opcode 0x69"},
      {"Obj", p + "(o.", kInvalid, "opcode 0x6f"},
      {"StackGlobal", p + "\x93.", kInvalid, "opcode 0x93"},
      {"Extension", p + "\x82\x01.", kInvalid, "opcode 0x82"},
      {"TextInt", p + "I1\n.", kInvalid, "opcode 0x49"},
      {"Protocol4", "\x80\x04.", kInvalid, "pickle protocol 4: expected 2"},
      {"CallOfText", p + Text("a") + ")R.", kDataLoss, "a call of what is no function"},
      {"OrderedDictWithArguments", p + "ccollections\nOrderedDict\n]\x85R.", kInvalid,
       "'collections OrderedDict' is called with unexpected arguments"},
      {"StorageCalled", p + "ctorch\nFloatStorage\n)R.", kInvalid,
       "'torch FloatStorage' is called with unexpected arguments"},
      {"ParameterDictReduced", p + "ctorch.nn.modules.container\nParameterDict\n)R.", kInvalid,
       "used in an unexpected way"},
      {"NewOrderedDict", p + "ccollections\nOrderedDict\n)\x81.", kInvalid,
       "used in an unexpected way"},
      // What damaged files do.
      {"Empty", "", kDataLoss, "pickle byte 0: the pickle ends without STOP"},
      {"NoStop", p + "N", kDataLoss, "pickle byte 3: the pickle ends without STOP"},
      {"NothingToReturn", p + ".", kDataLoss, "the stack is empty"},
      {"MarkReturned", p + "(.", kDataLoss, "a mark where a value is expected"},
      {"CutOperand", p + "J\1\1", kDataLoss, "pickle byte 2: the pickle ends inside an operand"},
      {"CutText", p + "X\xff\xff\xff\xff" + "a", kDataLoss, "the pickle ends inside a text"},
      {"CutGlobal", p + "cos", kDataLoss, "a name longer than 200 bytes, or cut"},
      {"LongInteger", p + "\x8a\x09" + std::string(9, '\1') + ".", kInvalid,
       "an integer of more than 64 bits"},
      {"UnknownMemo", p + "h\7.", kDataLoss, "memo entry 7 was never stored"},
      {"PutNothing", p + "q\0."s, kDataLoss, "the stack is empty"},
      {"PutMark", p + "(q\0."s, kDataLoss, "a mark where a value is expected"},
      {"TupleWithoutMark", p + "t.", kDataLoss, "no mark on the stack"},
      {"Tuple2OfOne", p + "N\x86.", kDataLoss, "the stack is empty"},
      {"AppendToNothing", p + "Na.", kDataLoss, "the stack is empty"},
      {"AppendToDict", p + "}Na.", kDataLoss, "APPEND to what is no list"},
      {"AppendsToNothing", p + "(Ne.", kDataLoss, "the stack is empty"},
      {"SetItemOnList", p + "]NNs.", kDataLoss, "SETITEM on what is no dictionary"},
      {"SetItemsOnNothing", p + "(NNu.", kDataLoss, "SETITEM on what is no dictionary"},
      {"SetItemsOdd", p + "}(Nu.", kDataLoss, "a key without a value"},
      {"BuildOfList", p + "]Nb.", kDataLoss, "BUILD of what is no object"},
      {"PersistentText", p + Text("a") + "Q.", kDataLoss, "a persistent id that is no storage"},
      {"StorageOfDicts",
       p + "(" + Text("storage") + "ccollections\nOrderedDict\n" + Text("0") + Text("cpu") +
           "K\1tQ.",
       kDataLoss, "a storage of an unknown type"},
      {"NegativeStorage",
       p + "(" + Text("storage") + "ctorch\nFloatStorage\n" + Text("0") + Text("cpu") +
           "J\xff\xff\xff\xfftQ.",
       kDataLoss, "that is no storage"},
      {"TensorOfNothing", p + "ctorch._utils\n_rebuild_tensor_v2\n)R.", kDataLoss,
       "a tensor that does not say storage"},
      {"ParameterOfNothing", p + "ctorch._utils\n_rebuild_parameter\n)R.", kDataLoss,
       "a parameter without a tensor"},
  };
}
INSTANTIATE_TEST_SUITE_P(All, BadPickleTest, ::testing::ValuesIn(BadPickles()),
                         [](const auto& info) { return info.param.name; });

TEST(PickleTest, Limits) {
  EXPECT_THAT(Pickle::Parse("\x80\x02" + std::string(1'000'000, '(')),
              StatusIs(kInvalid, HasSubstr("more than 200000 values")));
  std::string stack = "\x80\x02Nq"s + '\0';
  for (int i = 0; i < 300'000; ++i) stack += "h\0"s;
  EXPECT_THAT(Pickle::Parse(stack), StatusIs(kInvalid, HasSubstr("the stack is too deep")));
}

/// A torch file with one tensor under its root.
std::string TensorFile(const std::string& storage_type, int elements, const std::string& offset,
                       const std::string& size, const std::string& stride,
                       const std::string& data) {
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
    const std::string bytes =
        TensorFile("FloatStorage", 8, "K\2", "K\2K\3\x86", "K\3K\1\x86", data);
    ASSERT_OK_AND_ASSIGN(const auto file, TorchFile::Parse(bytes));
    EXPECT_THAT(file->Floats(file->root()).value(), ElementsAre(2, 3, 4, 5, 6, 7));
  }
  {
    const std::string bytes =
        TensorFile("FloatStorage", 8, "K\1", "K\2K\3\x86", "K\1K\2\x86", data);
    ASSERT_OK_AND_ASSIGN(const auto file, TorchFile::Parse(bytes));
    EXPECT_THAT(file->Floats(file->root()).value(), ElementsAre(1, 3, 5, 2, 4, 6)) << "transposed";
  }
  {
    const std::string bytes =
        TensorFile("HalfStorage", 2, "K\0"s, "K\2\x85", "K\1\x85", "\x00\x3c\x00\xc0"s);
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
      floats(TensorFile("FloatStorage", 8, "K\1", "K\2K\4\x86", "K\4K\1\x86", data)),
      StatusIs(kDataLoss,
               HasSubstr("a tensor of shape [2, 4] reaches outside its storage of 8 elements")));
  EXPECT_THAT(floats(TensorFile("FloatStorage", 8, big, "K\1\x85", "K\1\x85", data)),
              StatusIs(kDataLoss, HasSubstr("reaches outside")));
  EXPECT_THAT(
      floats(TensorFile("FloatStorage", 8, "K\0"s, big + big + "\x86", "K\0K\0\x86"s, data)),
      StatusIs(kDataLoss, HasSubstr("reaches outside")))
      << "a stride of 0 does not make memory";
  EXPECT_THAT(floats(TensorFile("FloatStorage", 8, "K\0"s, big + big + big + "\x87",
                                big + big + big + "\x87", data)),
              StatusIs(kDataLoss, HasSubstr("reaches outside")));
  EXPECT_THAT(
      floats(TensorFile("FloatStorage", 9, "K\0"s, "K\1\x85", "K\1\x85", data)),
      StatusIs(kDataLoss, HasSubstr("the storage '0' has 32 bytes: expected 9 elements of F32")));
  EXPECT_THAT(floats(TensorFile("LongStorage", 4, "K\0"s, "K\1\x85", "K\1\x85", data)),
              StatusIs(kInvalid, HasSubstr("type I64")));
}

TEST(TorchFileTest, RefusesOtherFiles) {
  EXPECT_THAT(TorchFile::Parse("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."),
              StatusIs(kInvalid, HasSubstr("it was saved by torch 1.5 or older")));
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

}  // namespace
}  // namespace neolog
