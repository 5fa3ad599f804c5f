#pragma once

#include <gmock/gmock.h>

#include "common/base/status.h"

namespace neolog::testing {

inline const absl::Status& GetStatus(const absl::Status& s) { return s; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& s) {
  return s.status();
}

/// OK, of a Status or StatusOr. There is no NotOk on purpose: say which code and message with
/// StatusIs.
MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

/// Code, and a matcher for the message: StatusIs(absl::StatusCode::kNotFound,
/// HasSubstr("cat.png")).
MATCHER_P2(StatusIs, code, message, "has the code and message") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code &&
         ::testing::Matches(message)(std::string(GetStatus(arg).message()));
}

}  // namespace neolog::testing

#define ASSERT_OK(expr) ASSERT_THAT((expr), ::neolog::testing::IsOk())
#define EXPECT_OK(expr) EXPECT_THAT((expr), ::neolog::testing::IsOk())
#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  NEOLOG_ASSERT_OK_AND_ASSIGN_(NEOLOG_CONCAT_(neolog_or_, __LINE__), lhs, expr)
#define NEOLOG_ASSERT_OK_AND_ASSIGN_(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  ASSERT_OK(tmp);                                    \
  lhs = std::move(tmp).value()
