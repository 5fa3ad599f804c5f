#include "common/config/scalars.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace neolog::config {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ScalarsTest, Booleans) {
  for (const char* text : {"true", "True", "TRUE"}) EXPECT_EQ(*ParseBool(text), true) << text;
  for (const char* text : {"false", "False", "FALSE"}) EXPECT_EQ(*ParseBool(text), false) << text;
  for (const char* text : {"yes", "no", "on", "off", "y", "n", "1", "0", "", "tRUE", "true "}) {
    EXPECT_THAT(ParseBool(text), StatusIs(kInvalid, HasSubstr(text))) << text;
  }
}

TEST(ScalarsTest, WholeNumbers) {
  EXPECT_EQ(*ParseUnsigned("0"), 0u);
  EXPECT_EQ(*ParseUnsigned("+7"), 7u);
  EXPECT_EQ(*ParseUnsigned("18446744073709551615"), UINT64_MAX);
  const struct {
    const char* text;
    const char* message;
  } kBad[] = {
      {"010", "write 10"},
      {"007", "write 7"},
      {"00", "write 0"},
      {"0x10", "decimal"},
      {"0o17", "decimal"},
      {"0b1", "decimal"},
      {"3_000", "separators"},
      {"3,000", "separators"},
      {"1e3", "write 1000"},
      {"3000.0", "write 3000"},
      {"2.5", "found '2.5'"},
      {"-5", "found -5"},
      {"18446744073709551616", "too large"},
      {"", "found ''"},
      {"abc", "found 'abc'"},
      {"5 ", "found '5 '"},
      {"-", "found '-'"},
      {"12abc", "found"},
      {".inf", "found"},
      {"1:30", "found"},
  };
  for (const auto& [text, message] : kBad) {
    EXPECT_THAT(ParseUnsigned(text), StatusIs(kInvalid, HasSubstr(message))) << text;
  }
}

TEST(ScalarsTest, Numbers) {
  const struct {
    const char* text;
    double value;
  } kGood[] = {{"0", 0},       {"-1", -1},     {"+1.5", 1.5},   {".5", .5},          {"5.", 5},
               {"1e-8", 1e-8}, {"1E+3", 1000}, {"0.005", .005}, {"-2.5e-3", -2.5e-3}};
  for (const auto& [text, value] : kGood) EXPECT_EQ(*ParseNumber(text), value) << text;
  for (const char* text : {"", ".", "-", "e5", "1e", "1e+", "0x1p3", "nan", ".nan", "inf", ".inf",
                           "-.inf", "1e999", "00.5", "1_0.0", "1 ", "1.2.3", "--1", "+-1"}) {
    EXPECT_THAT(ParseNumber(text), StatusIs(kInvalid, HasSubstr("found"))) << text;
  }
}

}  // namespace
}  // namespace neolog::config
