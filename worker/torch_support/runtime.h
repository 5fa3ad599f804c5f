#pragma once

#include <string>

#include "common/base/status.h"

namespace neolog::torch_support {

/// How libtorch runs in this process.
struct RuntimeOptions {
  /// Threads of one operation. Part of the numeric profile: it never follows from the number of
  /// workers. At least 1.
  int threads = 1;
};

/// Sets threads and determinism. The number of threads belongs to the calling thread, so every
/// thread that computes calls this first; the rest is the process's and is set each time.
/// Deterministic algorithms are on, and new tensors are not filled for it; float32 is float32 on
/// CUDA too (no TF32). InvalidArgument for fewer than one thread.
absl::Status SetUpRuntime(const RuntimeOptions& options);

/// What must be decided before the process does anything else; call it once, from main, before any
/// thread starts. For a process of its own only: its memory does not shrink. Malloc keeps freed
/// memory instead of giving every large tensor back to the kernel, which faults it in again page by
/// page (3 to 5 times slower steps on some virtual machines), where the C library has such a
/// switch. cuBLAS gets the fixed workspace without which its results are not repeatable, unless the
/// user's CUBLAS_WORKSPACE_CONFIG says another.
void SetUpProcess();

/// What the bits of a result depend on beside dtype, threads and shapes.
struct Capabilities {
  /// The instruction set that libtorch's own kernels use ("AVX512", "AVX2", "DEFAULT"), then what
  /// oneDNN and MKL choose their kernels by: the processor's maker and vector extensions, and the
  /// variables that overrule them.
  std::string instruction_set;
  /// libtorch's version and the maths libraries inside, in one line.
  std::string torch_build;
  /// True when this program was compiled with CUDA.
  bool cuda = false;
};

/// Never fails; costs microseconds after the first call.
Capabilities GetCapabilities();

}  // namespace neolog::torch_support
