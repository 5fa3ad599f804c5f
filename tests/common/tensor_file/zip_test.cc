#include "common/tensor_file/zip.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string TwoMembers() {
  StoredZipWriter writer;
  writer.Add("a/x", "hello");
  writer.Add("a/y", "");
  return writer.Finish();
}

void Set(std::string* bytes, size_t at, uint64_t value, int size) {
  for (int i = 0; i < size; ++i)
    (*bytes)[at + static_cast<size_t>(i)] = static_cast<char>(value >> (8 * i) & 0xff);
}

// Offsets in TwoMembers(): local headers at 0 and `kSecond`, the directory at `Directory`, the end
// record 22 bytes before the end.
size_t Directory(const std::string& bytes) { return bytes.find("PK\x01\x02"); }

TEST(ZipTest, RoundTrip_DataAlignedTo64) {
  const std::string bytes = TwoMembers();
  EXPECT_EQ(bytes, TwoMembers());
  ASSERT_OK_AND_ASSIGN(const auto members, ReadStoredZip(bytes));
  EXPECT_THAT(members, ElementsAre(Pair("a/x", "hello"), Pair("a/y", "")));
  EXPECT_EQ((members.at("a/x").data() - bytes.data()) % 64, 0);
}

TEST(ZipTest, Empty) {
  ASSERT_OK_AND_ASSIGN(const auto members, ReadStoredZip(StoredZipWriter().Finish()));
  EXPECT_TRUE(members.empty());
}

// torch.save always adds zip64 records; members of 4 GB and more have a zip64 field as well.
TEST(ZipTest, Zip64) {
  std::string bytes = TwoMembers();
  const size_t directory = Directory(bytes);
  const size_t end = bytes.size() - 22;
  std::string records = bytes.substr(0, end);
  std::string end64(56, '\0');
  Set(&end64, 0, 0x06064b50, 4);
  Set(&end64, 4, 44, 8);
  Set(&end64, 24, 2, 8);
  Set(&end64, 32, 2, 8);
  Set(&end64, 40, end - directory, 8);
  Set(&end64, 48, directory, 8);
  std::string locator(20, '\0');
  Set(&locator, 0, 0x07064b50, 4);
  Set(&locator, 8, end, 8);
  std::string saturated = bytes.substr(end);
  Set(&saturated, 8, 0xffff, 2);
  Set(&saturated, 10, 0xffff, 2);
  Set(&saturated, 12, 0xffffffff, 4);
  Set(&saturated, 16, 0xffffffff, 4);
  EXPECT_OK(ReadStoredZip(records + end64 + locator + saturated));
  EXPECT_OK(ReadStoredZip(records + end64 + locator + bytes.substr(end)));

  std::string contradicting = end64;
  Set(&contradicting, 32, 1, 8);
  EXPECT_THAT(ReadStoredZip(records + contradicting + locator + bytes.substr(end)),
              StatusIs(kDataLoss, HasSubstr("the zip64 end record contradicts")));
  std::string wild = locator;
  Set(&wild, 8, ~uint64_t{0}, 8);
  EXPECT_THAT(ReadStoredZip(records + end64 + wild + saturated),
              StatusIs(kDataLoss, HasSubstr("the zip64 locator points to no")));
  Set(&wild, 8, end + 20, 8);
  EXPECT_THAT(ReadStoredZip(records + end64 + wild + saturated),
              StatusIs(kDataLoss, HasSubstr("the zip64 locator points to no")));
  EXPECT_THAT(ReadStoredZip(records + saturated),
              StatusIs(kDataLoss, HasSubstr("does not end where the end record starts")));
}

// What members of 4 GB and more have: saturated fields in the directory, the values beside them.
TEST(ZipTest, Zip64Fields) {
  const auto number = [](uint64_t value, int size) {
    std::string bytes(static_cast<size_t>(size), '\0');
    Set(&bytes, 0, value, size);
    return bytes;
  };
  const auto field = [&](const std::string& values) {
    return number(1, 2) + number(values.size(), 2) + values;
  };
  // TwoMembers() with `extra` behind the first name, whose sizes and place are saturated.
  const auto with = [&](const std::string& extra) {
    std::string bytes = TwoMembers();
    const size_t directory = Directory(bytes);
    Set(&bytes, directory + 20, 0xffffffff, 4);
    Set(&bytes, directory + 24, 0xffffffff, 4);
    Set(&bytes, directory + 42, 0xffffffff, 4);
    Set(&bytes, directory + 30, extra.size(), 2);
    bytes.insert(directory + 46 + 3, extra);
    Set(&bytes, bytes.size() - 10, bytes.size() - 22 - directory, 4);
    return bytes;
  };
  const std::string five = number(5, 8), zero = number(0, 8);
  const std::string other = number(0x4246, 2) + number(2, 2) + "ZZ";
  const std::string good = with(other + field(five + five + zero));  // members are views of it
  ASSERT_OK_AND_ASSIGN(const auto members, ReadStoredZip(good));
  EXPECT_EQ(members.at("a/x"), "hello");
  struct Case {
    std::string extra, message;
  };
  for (const Case& c :
       {Case{field(five + five), "without a zip64 field"}, Case{other, "without a zip64 field"},
        Case{field(five + five + zero) + field(five), "two zip64 fields"},
        Case{number(1, 2) + number(99, 2) + five, "an extra field goes beyond its header"},
        Case{field(five + number(6, 8) + zero), "a stored member with two sizes"},
        Case{field(number(~uint64_t{0}, 8) + number(~uint64_t{0}, 8) + zero), "goes beyond"},
        Case{field(five + five + number(~uint64_t{0}, 8)), "points to no local header"}}) {
    EXPECT_THAT(ReadStoredZip(with(c.extra)), StatusIs(kDataLoss, HasSubstr(c.message)));
  }
}

struct BadZip {
  std::string name;
  std::function<void(std::string*, size_t)> change;  // the bytes, and where the directory starts
  absl::StatusCode code;
  std::string message;
};
class BadZipTest : public ::testing::TestWithParam<BadZip> {};

TEST_P(BadZipTest, IsRefusedWithTheByteOffset) {
  std::string bytes = TwoMembers();
  GetParam().change(&bytes, Directory(bytes));
  EXPECT_THAT(ReadStoredZip(bytes), StatusIs(GetParam().code, HasSubstr(GetParam().message)));
}

std::vector<BadZip> BadZips() {
  return {
      {"Empty", [](auto* b, size_t) { b->clear(); }, kDataLoss,
       "byte 0: the zip archive has no end record"},
      {"Cut", [](auto* b, size_t) { b->pop_back(); }, kDataLoss, "no end record"},
      {"TrailingBytes", [](auto* b, size_t) { *b += "x"; }, kDataLoss, "no end record"},
      {"SeveralDisks", [](auto* b, size_t) { Set(b, b->size() - 18, 1, 2); }, kDataLoss,
       "one of several parts"},
      {"DirectoryBeyond", [](auto* b, size_t) { Set(b, b->size() - 6, 0xfffffff0, 4); }, kDataLoss,
       "does not end where"},
      {"DirectoryTooLong", [](auto* b, size_t) { Set(b, b->size() - 10, 0xfffffff0, 4); },
       kDataLoss, "does not end where"},
      {"CountTooHigh", [](auto* b, size_t) { Set(b, b->size() - 12, 3, 2); }, kDataLoss,
       "expected a directory entry"},
      {"CountTooLow", [](auto* b, size_t) { Set(b, b->size() - 12, 1, 2); }, kDataLoss,
       "the directory holds more than its entries"},
      {"EntrySignature", [](auto* b, size_t d) { (*b)[d] = 'X'; }, kDataLoss,
       "byte 144: expected a directory entry"},
      {"Encrypted", [](auto* b, size_t d) { Set(b, d + 8, 1, 2); }, kInvalid, "encrypted"},
      {"Compressed", [](auto* b, size_t d) { Set(b, d + 10, 8, 2); }, kInvalid,
       "compressed (method 8)"},
      {"TwoSizes", [](auto* b, size_t d) { Set(b, d + 20, 4, 4); }, kDataLoss,
       "a stored member with two sizes"},
      {"NameTooLong", [](auto* b, size_t d) { Set(b, d + 28, 0xffff, 2); }, kDataLoss,
       "a directory entry goes beyond the directory"},
      {"SizeNeedsZip64", [](auto* b, size_t d) { Set(b, d + 24, 0xffffffff, 4); }, kDataLoss,
       "without a zip64 field"},
      {"LocalBeyond", [](auto* b, size_t d) { Set(b, d + 42, 0xfffffff0, 4); }, kDataLoss,
       "points to no local header"},
      {"LocalElsewhere", [](auto* b, size_t d) { Set(b, d + 42, 1, 4); }, kDataLoss,
       "points to no local header"},
      {"LocalName", [](auto* b, size_t) { (*b)[30] = 'b'; }, kDataLoss,
       "byte 0: a local header contradicts the directory"},
      {"LocalMethod", [](auto* b, size_t) { Set(b, 8, 8, 2); }, kDataLoss,
       "a local header contradicts the directory"},
      {"DataBeyond", [](auto* b, size_t) { Set(b, 28, 0xffff, 2); }, kDataLoss,
       "a member goes beyond the directory's start"},
      {"Checksum", [](auto* b, size_t) { (*b)[64] = 'j'; }, kDataLoss,
       "byte 64: a member's checksum is wrong"},
      {"SameNameTwice",
       [](auto* b, size_t d) {
         (*b)[d + 46 + 3 + 46 + 2] = 'x';
         const size_t second = b->find("PK\x03\x04", 4);
         (*b)[second + 32] = 'x';
       },
       kDataLoss, "a name appears twice"},
  };
}
INSTANTIATE_TEST_SUITE_P(All, BadZipTest, ::testing::ValuesIn(BadZips()),
                         [](const auto& info) { return info.param.name; });

// A local header inside another member's data: each is well formed by itself.
TEST(ZipTest, MembersInsideMembers_AreRefused) {
  StoredZipWriter inner;
  inner.Add("inner", "payload");
  const std::string inner_bytes = inner.Finish();
  StoredZipWriter outer;
  outer.Add("outer", inner_bytes.substr(0, inner_bytes.find("PK\x07\x08")));
  std::string bytes = outer.Finish();
  const size_t directory = Directory(bytes);
  const size_t nested = bytes.find("PK\x03\x04", 4);
  std::string entry = inner_bytes.substr(inner_bytes.find("PK\x01\x02"), 46 + 5);
  Set(&entry, 42, nested, 4);
  bytes.insert(bytes.size() - 22, entry);
  Set(&bytes, bytes.size() - 12, 2, 2);
  Set(&bytes, bytes.size() - 10, bytes.size() - 22 - directory, 4);
  EXPECT_THAT(ReadStoredZip(bytes), StatusIs(kDataLoss, HasSubstr("members overlap")));
}

}  // namespace
}  // namespace neolog
