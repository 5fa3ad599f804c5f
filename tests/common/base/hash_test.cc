#include "common/base/hash.h"

#include <gtest/gtest.h>

namespace neolog {
namespace {

TEST(HashTest, Sha256KnownAnswers) {  // FIPS 180-2, appendix B
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(HashTest, PiecesEqualTheWhole) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("");
  hash.Update("bc");
  EXPECT_EQ(hash.HexDigest(), Sha256Hex("abc"));
}

TEST(HashTest, Hash64IsTheFirstEightBytesLittleEndian) {
  EXPECT_EQ(Hash64("abc"), 0xeacf018fbf1678baULL);
}

}  // namespace
}  // namespace neolog
