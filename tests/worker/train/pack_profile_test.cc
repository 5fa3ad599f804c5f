#include "worker/train/pack_profile.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>

#include "common/storage/memory_blob_store.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/train/demo_pack.h"

namespace neolog::train {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;

v1::Assignment Assignment() {
  MemoryBlobStore blobs;
  return testing::AssignmentOf({testing::DemoSpec("zesko", "zesko", blobs)});
}

TEST(PackProfileTest, Choices_FollowTheRun) {
  v1::Assignment assignment = Assignment();
  const auto plain = ResolvePackProfile(assignment, 3, "cpu");
  ASSERT_OK(plain);
  EXPECT_EQ(plain->threads, 1) << "the run says so";
  EXPECT_FALSE(plain->sums);
  EXPECT_GT(plain->memory.per_sample, 0);
  EXPECT_EQ(plain->attention_kernels, "none is fused");

  auto& spec = *assignment.mutable_runs(0)->mutable_spec();
  spec.mutable_model()->set_precision("fp16");
  spec.mutable_training()->set_reduce("fast");
  const auto other = ResolvePackProfile(assignment, 3, "cpu");
  ASSERT_OK(other);
  EXPECT_TRUE(other->sums);
  EXPECT_EQ(other->model.precision, diffusion::Precision::kFloat16);
  EXPECT_NE(other->numerics, plain->numerics);

  spec.mutable_resources()->set_cuda_graph("on");
  EXPECT_THAT(ResolvePackProfile(assignment, 3, "cpu"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected auto or off")));
  spec.mutable_resources()->set_cuda_graph("off");
  spec.mutable_model()->set_precision("int8");
  EXPECT_THAT(
      ResolvePackProfile(assignment, 3, "cpu"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected fp32, bf16 or fp16")));
}

TEST(PackProfileTest, SlowAttention_IsRefused_UnlessEveryRunAllowsIt) {
  v1::Assignment assignment = Assignment();
  for (int i = 0; i < 2; ++i) {
    *assignment.add_runs() = assignment.runs(0);
    assignment.mutable_runs(i)->mutable_spec()->mutable_data()->set_resolution(512);
  }
  assignment.mutable_runs()->RemoveLast();
  at::globalContext().setSDPUseFlash(false);
  const auto refused = ResolvePackProfile(assignment, 1, "cpu");
  assignment.mutable_runs(0)->mutable_spec()->mutable_model()->set_allow_slow_attention(true);
  const auto half = ResolvePackProfile(assignment, 1, "cpu");
  assignment.mutable_runs(1)->mutable_spec()->mutable_model()->set_allow_slow_attention(true);
  const auto allowed = ResolvePackProfile(assignment, 1, "cpu");
  at::globalContext().setSDPUseFlash(true);
  for (const auto* status : {&refused, &half}) {
    EXPECT_THAT(*status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                  HasSubstr("model.allow_slow_attention: true")));
  }
  ASSERT_OK(allowed);
  EXPECT_THAT(allowed->attention_kernels, HasSubstr("keep every score"));
}

}  // namespace
}  // namespace neolog::train
