#include "common/tensor_file/pickle.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
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

// What trainers leave beside the weights: classes and calls that are unknown here become objects.
TEST(PickleTest, UnknownClasses_AreKeptAsData) {
  const std::string p = "\x80\x02";
  struct Case {
    std::string bytes;
    std::string text;
  };
  for (const Case& c :
       {Case{p + "cpytorch_lightning\nState\n)R.", "pytorch_lightning State"},
        Case{p + "cpytorch_lightning\nState\n)\x81}b.", "pytorch_lightning State"},
        Case{p + "cpytorch_lightning\nState\n)}\x92.", "pytorch_lightning State"},
        Case{p + "(K\1imine\nState\n.", "mine State"},
        Case{p + "(cmine\nState\nK\1o.", "mine State"}, Case{p + "cmine\nmake\n)R)R.", "mine make"},
        Case{p + "ctypes\nSimpleNamespace\n)R}b.", "types SimpleNamespace"},
        Case{p + "cmine\nList\n)RK\1a.", "mine List"}, Case{p + "cmine\nDict\n)RNNs.", "mine Dict"},
        Case{p + "\x8a\x09" + std::string(9, '\1') + ".", "builtins int"}}) {
    ASSERT_OK_AND_ASSIGN(const auto pickle, Pickle::Parse(c.bytes));
    EXPECT_EQ(pickle->root().kind, Kind::kObject) << c.text;
    EXPECT_EQ(pickle->root().text, c.text);
  }
}

TEST(PickleTest, OtherProtocols) {
  for (const std::string& bytes :
       {"\x80\x04\x95\x01\0\0\0\0\0\0\0}\x94(\x8c\x01"s + "a\x94K\x07u."s,  // 4: frames, memoize
        "\x80\x02("s + Text("a") + "I7\nd."s,                               // 0: DICT, INT
        "\x80\x02}"s + Text("a") + "L7L\ns."s}) {
    const auto pickle = Pickle::Parse(bytes);
    ASSERT_OK(pickle);
    ASSERT_NE(FindInDict((*pickle)->root(), "a"), nullptr);
    EXPECT_EQ(FindInDict((*pickle)->root(), "a")->integer, 7);
  }
}

TEST(PickleTest, WhatFollowsIsLeftAlone) {
  ASSERT_OK_AND_ASSIGN(const auto pickle, Pickle::Parse("\x80\x02N.more"));
  EXPECT_EQ(pickle->size(), 4u);
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
       "pickle byte 2: the file wants to call posix.system, which weights never need: it may be "
       "malicious, do not load it elsewhere"},
      {"Eval", p + "c__builtin__\neval\n.", kInvalid, "wants to call __builtin__.eval"},
      {"Getattr", p + "cbuiltins\ngetattr\n.", kInvalid, "wants to call builtins.getattr"},
      {"DottedName", p + "ctorch\nos.system\n.", kInvalid, "wants to call torch.os.system"},
      {"Submodule", p + "curllib.request\nurlopen\n.", kInvalid,
       "wants to call urllib.request.urlopen"},
      {"LoadFromBytes", p + "ctorch.storage\n_load_from_bytes\n.", kInvalid,
       "wants to call torch.storage._load_from_bytes"},
      {"SpaceInModule", p + "ctorch FloatStorage\nx\n.", kDataLoss, "a name that is none"},
      {"OtherNamesOfTypes", p + "ctypes\nFunctionType\n.", kInvalid, "types.FunctionType"},
      {"NoName", p + "ctorch\n\n.", kDataLoss, "a name that is none"},
      {"ControlCharacters", p + "cos\nx\x1b[2J\n.", kInvalid, "wants to call os.x?[2J"},
      {"Inst", p + "(ios\nsystem\n.", kInvalid, "wants to call os.system"},
      {"ObjOfText", p + "(" + Text("a") + "o.", kDataLoss, "an instance of what is no class"},
      {"StackGlobal", p + Text("os") + Text("system") + "\x93.", kInvalid,
       "wants to call os.system"},
      {"StackGlobalOfNumbers", p + "K\1K\1\x93.", kDataLoss, "a name that is no text"},
      {"Extension", p + "\x82\x01.", kInvalid, "opcode 0x82"},
      {"Protocol6", "\x80\x06.", kInvalid, "pickle protocol 6: expected 2 to 5"},
      {"CallOfText", p + Text("a") + ")R.", kDataLoss, "a call of what is no function"},
      {"DictOfNumbers", p + "ccollections\nOrderedDict\n](K\1K\2e\x85R.", kDataLoss,
       "a dictionary of what are no pairs"},
      // What damaged files do.
      {"Empty", "", kDataLoss, "pickle byte 0: the pickle ends without STOP"},
      {"NoStop", p + "N", kDataLoss, "pickle byte 3: the pickle ends without STOP"},
      {"NothingToReturn", p + ".", kDataLoss, "the stack is empty"},
      {"MarkReturned", p + "(.", kDataLoss, "a mark where a value is expected"},
      {"CutOperand", p + "J\1\1", kDataLoss, "pickle byte 2: the pickle ends inside an operand"},
      {"CutText", p + "X\xff\xff\xff\xff" + "a", kDataLoss, "the pickle ends inside a text"},
      {"CutGlobal", p + "cos", kDataLoss, "a name longer than 200 bytes, or cut"},
      {"LongInteger", p + "\x8b\xff\xff\xff\x7f.", kInvalid, "an integer of more than 65536 bytes"},
      {"TextInteger", p + "Ix\n.", kDataLoss, "an integer that is none"},
      {"TextNumber", p + "Fx\n.", kDataLoss, "a number that is none"},
      {"MemoText", p + "Npx\n.", kDataLoss, "a memo index that is no number"},
      {"PopNothing", p + "0.", kDataLoss, "the stack is empty"},
      {"DictOdd", p + "(Nd.", kDataLoss, "a key without a value"},
      {"UnknownMemo", p + "h\7.", kDataLoss, "memo entry 7 was never stored"},
      {"PutNothing", p + "q\0."s, kDataLoss, "the stack is empty"},
      {"PutMark", p + "(q\0."s, kDataLoss, "a mark where a value is expected"},
      {"TupleWithoutMark", p + "t.", kDataLoss, "no mark on the stack"},
      {"Tuple2OfOne", p + "N\x86.", kDataLoss, "the stack is empty"},
      {"AppendToNothing", p + "Na.", kDataLoss, "the stack is empty"},
      {"AppendToDict", p + "}Na.", kDataLoss, "APPEND to what is no list"},
      {"AppendsToNothing", p + "(Ne.", kDataLoss, "the stack is empty"},
      {"SetItemOnList", p + "]NNs.", kDataLoss, "SETITEM on what is no dictionary"},
      {"SetItemsOnNothing", p + "(NNu.", kDataLoss, "the stack is empty"},
      {"SetItemsOdd", p + "}(Nu.", kDataLoss, "a key without a value"},
      {"BuildOfNone", p + "NNb.", kDataLoss, "BUILD of what is no object"},
      {"PersistentText", p + Text("a") + "Q.", kDataLoss, "a persistent id that is no storage"},
      {"StorageOfDicts",
       p + "(" + Text("storage") + "ccollections\nOrderedDict\n" + Text("0") + Text("cpu") +
           "K\1tQ.",
       kDataLoss, "a storage of an unknown class"},
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
              StatusIs(kInvalid, HasSubstr("more than 500000 values")));
  std::string stack = "\x80\x02Nq"s + '\0';
  for (int i = 0; i < 600'000; ++i) stack += "h\0"s;
  EXPECT_THAT(Pickle::Parse(stack), StatusIs(kInvalid, HasSubstr("the stack is too deep")));
}

std::string Times(size_t count, const std::string& part) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += part;
  return all;
}

// Few bytes that ask for much memory: each is refused by what it would become.
TEST(PickleTest, Bombs_AreRefused) {
  const std::string p = "\x80\x02";
  const std::string memo = "q\0"s;
  // A list that is put together from a thousand references, again and again.
  const std::string thousand = p + "N" + memo + "0";
  EXPECT_THAT(Pickle::Parse(thousand + Times(3000, "](" + Times(1000, "h\0"s) + "e0") + "N."),
              StatusIs(kInvalid, HasSubstr("too many items")));
  EXPECT_THAT(Pickle::Parse(p + Times(600'000, "K\1\x85q\1"s + "0") + "N."),
              StatusIs(kInvalid, HasSubstr("more than 500000 values")));
  std::string entries = p + "N";
  for (uint32_t i = 0; i < 600'000; ++i)
    entries += "r"s + std::string(reinterpret_cast<const char*>(&i), 4);
  EXPECT_THAT(Pickle::Parse(entries + "."),
              StatusIs(kInvalid, HasSubstr("more than 500000 memo entries")));
  // A tensor of 16 dimensions in 7 bytes, from a call's parts in the memo.
  const std::string shape = "(" + Times(16, "K\1") + "t";
  EXPECT_THAT(
      Pickle::Parse(p + "ctorch._utils\n_rebuild_tensor_v2\nq\0"s + "0((" + Text("storage") +
                    "ctorch\nFloatStorage\n" + Text("0") + Text("cpu") + "K\1tQK\0"s + shape +
                    shape + "tq\1" + "0" + Times(100'000, "h\0h\1R0"s) + "N."),
      StatusIs(kInvalid, HasSubstr("too many items")));
}

// Neither reading nor destroying goes down into values.
TEST(PickleTest, DeepNesting_IsNoTrouble) {
  EXPECT_OK(Pickle::Parse("\x80\x02" + Times(200'000, "]") + Times(199'999, "a") + "."));
  EXPECT_OK(Pickle::Parse("\x80\x02" + Times(200'000, "N\x85") + "."));
  // Each tuple twice in the next: 2^60 leaves for who walks them, 61 values here.
  EXPECT_OK(Pickle::Parse("\x80\x02N" + Times(60, "2\x86") + "."));
}

}  // namespace
}  // namespace neolog
