#include "common/base/status.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

using ::neolog::testing::StatusIs;

absl::Status Inner() { return NotFound("no such file"); }
absl::Status Outer() {
  RETURN_IF_ERROR_WITH(Inner(), "reading 'cat.png'");
  return absl::OkStatus();
}
absl::StatusOr<int> Twice(absl::StatusOr<int> in) {
  ASSIGN_OR_RETURN_WITH(int value, in, "doubling");
  return value * 2;
}

TEST(StatusTest, ContextIsPrependedAndTheCodeKept) {
  EXPECT_THAT(Outer(), StatusIs(absl::StatusCode::kNotFound, "reading 'cat.png': no such file"));
}

TEST(StatusTest, AnnotateKeepsPayloadsAndLeavesOkAlone) {
  absl::Status status = DataLoss("torn");
  status.SetPayload("neolog/key", absl::Cord("a.b"));
  EXPECT_EQ(Annotate(status, "x").GetPayload("neolog/key"), absl::Cord("a.b"));
  EXPECT_OK(Annotate(absl::OkStatus(), "x"));
}

TEST(StatusTest, AssignOrReturnPassesValueAndError) {
  ASSERT_OK_AND_ASSIGN(int doubled, Twice(21));
  EXPECT_EQ(doubled, 42);
  EXPECT_THAT(Twice(Aborted("peer left")),
              StatusIs(absl::StatusCode::kAborted, "doubling: peer left"));
}

}  // namespace
}  // namespace neolog
