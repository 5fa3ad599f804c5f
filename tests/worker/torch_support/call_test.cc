#include "worker/torch_support/call.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <c10/util/Exception.h>

#include <new>
#include <stdexcept>

#include "tests/support/status_matchers.h"

namespace neolog::torch_support {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CallTorch, Value_IsReturned) {
  const absl::StatusOr<int> result = CallTorch("adding", [] { return 2 + 2; });
  ASSERT_OK(result);
  EXPECT_EQ(*result, 4);
}

TEST(CallTorch, VoidFunction_GivesStatus) {
  bool ran = false;
  const absl::Status status = CallTorch("running", [&] { ran = true; });
  EXPECT_OK(status);
  EXPECT_TRUE(ran);
}

TEST(CallTorch, StatusInside_PassesThrough) {
  const absl::Status status = CallTorch("checking", [] { return NotFound("cat.png"); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("cat.png")));
  const absl::StatusOr<int> other =
      CallTorch("checking", []() -> absl::StatusOr<int> { return DataLoss("bad"); });
  EXPECT_THAT(other, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bad")));
}

TEST(CallTorch, WrongShapes_BecomeInternalInOneLine) {
  const auto result = CallTorch("multiplying", [] {
    return at::matmul(at::ones({2, 3}), at::ones({2, 3}));
  });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kInternal,
                               AllOf(HasSubstr("multiplying: "), Not(HasSubstr("\n")))));
}

TEST(CallTorch, OutOfMemory_IsTold) {
  // 16 exabytes: the CPU allocator refuses at once.
  const auto result =
      CallTorch("allocating", [] { return at::empty({int64_t{1} << 60}, at::kFloat); });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("out of memory")));
  EXPECT_THAT(CallTorch("allocating", [] { throw std::bad_alloc(); }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("allocating")));
  EXPECT_THAT(CallTorch("allocating",
                        [] { TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory"); }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("CUDA out of memory")));
}

TEST(CallTorch, OtherExceptions_BecomeInternal) {
  EXPECT_THAT(CallTorch("parsing", [] { throw std::runtime_error("no luck"); }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("parsing: no luck")));
  EXPECT_THAT(CallTorch("parsing", [] { throw 5; }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("unknown type")));
}

}  // namespace
}  // namespace neolog::torch_support
