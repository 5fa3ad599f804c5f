#include "worker/torch_support/runtime.h"

#include <mutex>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "worker/torch_support/call.h"
#include "worker/torch_support/cuda/cuda_devices.h"

namespace neolog::torch_support {
namespace {

// "… vX.Y.Z (Git Hash abc)" -> "X.Y.Z"; MKL's own sentence is cut at its product name.
std::string ShortVersion(const std::string& text) {
  const size_t v = text.find(" v");
  const size_t start = v != std::string::npos ? v + 2 : text.find_first_of("0123456789");
  if (start == std::string::npos) return "none";
  return text.substr(start, text.find_first_of(" \n(", start) - start);
}

}  // namespace

absl::Status SetUpRuntime(const RuntimeOptions& options) {
  if (options.threads < 1) {
    return InvalidArgument(fmt::format("threads is {}; at least 1 is needed", options.threads));
  }
  return CallTorch("setting up libtorch", [&] {
    at::set_num_threads(options.threads);
    // Allowed once a process, and only before the first use; nothing here runs between operations.
    static std::once_flag once;
    std::call_once(once, [] {
      try {
        at::set_num_interop_threads(1);
      } catch (const c10::Error&) {
        // Somebody used the pool before: it is idle, and no result depends on it.
      }
    });
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setBenchmarkCuDNN(false);
  });
}

bool KeepFreedMemory() {
#ifdef __GLIBC__
  constexpr int kTopPad = 256 << 20;
  return mallopt(M_MMAP_MAX, 0) == 1 && mallopt(M_TRIM_THRESHOLD, -1) == 1 &&
         mallopt(M_TOP_PAD, kTopPad) == 1 && mallopt(M_ARENA_MAX, 1) == 1;
#else
  return false;
#endif
}

Capabilities GetCapabilities() {
  static const Capabilities capabilities = [] {
    Capabilities c;
    c.instruction_set = at::get_cpu_capability();
    c.torch_build = fmt::format("torch {} mkl {} onednn {}", TORCH_VERSION,
                                ShortVersion(at::get_mkl_version()),
                                ShortVersion(at::get_mkldnn_version()));
    c.cuda = CompiledWithCuda();
    return c;
  }();
  return capabilities;
}

}  // namespace neolog::torch_support
