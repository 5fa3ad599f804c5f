#include "worker/torch_support/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
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

// "GenuineIntel", "AuthenticAMD", ...: MKL takes other kernels on another maker's processor.
std::string Maker() {
#if defined(__x86_64__)
  unsigned highest = 0;
  std::array<unsigned, 3> name{};
  __get_cpuid(0, &highest, &name[0], &name[2], &name[1]);
  std::array<char, 13> text{};
  std::memcpy(text.data(), name.data(), sizeof(name));
  return text.data();
#else
  return "unknown";
#endif
}

// The vector extensions among the processor's capabilities, in alphabetical order.
std::vector<std::string> VectorExtensions() {
  std::vector<std::string> names;
  for (const auto& [name, value] : at::cpu::get_cpu_capabilities()) {
    if (!value.isBool() || !value.toBool()) continue;
    for (const std::string_view family : {"avx", "amx", "fma"}) {
      if (name.starts_with(family)) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Variables by which users overrule what the maths libraries choose.
std::vector<std::string> Overrides() {
  std::vector<std::string> set;
  for (const char* name :
       {"DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS",
        "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA"}) {
    if (const char* value = std::getenv(name)) set.push_back(fmt::format("{}={}", name, value));
  }
  return set;
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
    // A profile's flash attention is one kernel; on some GPUs libtorch would rather take cuDNN's.
    at::globalContext().setSDPUseCuDNN(false);
    for (const at::Float32Op op : {at::Float32Op::CONV, at::Float32Op::MATMUL}) {
      at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, op,
                                              at::Float32Precision::IEEE);
    }
  });
}

void SetUpProcess() {
#ifdef __GLIBC__
  constexpr int kTopPad = 256 << 20;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, kTopPad);
  mallopt(M_ARENA_MAX, 1);
#endif
  if (CompiledWithCuda()) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*replace=*/0);
}

Capabilities GetCapabilities() {
  static const Capabilities capabilities = [] {
    Capabilities c;
    std::vector<std::string> parts = {at::get_cpu_capability(), Maker()};
    for (const auto& more : {VectorExtensions(), Overrides()})
      parts.insert(parts.end(), more.begin(), more.end());
    c.instruction_set = fmt::format("{}", fmt::join(parts, " "));
    c.torch_build =
        fmt::format("torch {} mkl {} onednn {}", TORCH_VERSION, ShortVersion(at::get_mkl_version()),
                    ShortVersion(at::get_mkldnn_version()));
    c.cuda = CompiledWithCuda();
    return c;
  }();
  return capabilities;
}

}  // namespace neolog::torch_support
