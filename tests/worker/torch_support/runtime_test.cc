#include "worker/torch_support/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "tests/support/status_matchers.h"
#include "worker/torch_support/device.h"

namespace neolog::torch_support {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(SetUpRuntime, Threads_AreSet) {
  for (const int threads : {2, 1}) {
    ASSERT_OK(SetUpRuntime({.threads = threads}));
    EXPECT_EQ(at::get_num_threads(), threads);
  }
  EXPECT_THAT(SetUpRuntime({.threads = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("threads is 0")));
}

TEST(SetUpRuntime, Determinism_IsOn) {
  ASSERT_OK(SetUpRuntime({}));
  EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
  EXPECT_FALSE(at::globalContext().deterministicFillUninitializedMemory());
}

TEST(SetUpRuntime, Float32OnCuda_IsNotTF32) {
  ASSERT_OK(SetUpRuntime({}));
  EXPECT_FALSE(at::globalContext().allowTF32CuDNN(at::Float32Op::CONV));
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
}

TEST(Capabilities, NamesInstructionSetAndBuild) {
  const Capabilities capabilities = GetCapabilities();
  EXPECT_FALSE(capabilities.instruction_set.empty());
  EXPECT_THAT(capabilities.torch_build, StartsWith("torch 2."));
  EXPECT_THAT(capabilities.torch_build, HasSubstr(" mkl "));
  EXPECT_EQ(capabilities.torch_build.find('\n'), std::string::npos);
}

TEST(SelectDevice, Cpu_IsThere) {
  const auto device = SelectDevice("cpu");
  ASSERT_OK(device);
  EXPECT_TRUE(device->is_cpu());
}

TEST(SelectDevice, UnknownWords_AreRefused) {
  for (const char* name :
       {"", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "cuda:1x", "cuda:128", "CPU"}) {
    EXPECT_THAT(SelectDevice(name),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuda:N")))
        << name;
  }
}

TEST(SelectDevice, CudaThatIsNotHere_SaysWhy) {
  const auto device = SelectDevice("cuda:100");
  EXPECT_THAT(device, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("'cuda:100'")));
  if (!GetCapabilities().cuda) {
    EXPECT_THAT(device, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("this build has no CUDA")));
  }
}

}  // namespace
}  // namespace neolog::torch_support
