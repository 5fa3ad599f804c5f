#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/status_matchers.h"
#include "tests/worker/collective/nccl/fake_nccl.h"
#include "worker/collective/nccl/libraries.h"

namespace neolog::collective::nccl {

/// The fake libnccl, loaded as the real one is, without faults at first.
class FakeLibrary {
 public:
  FakeLibrary() {
    auto loaded = Load({.nccl = NEOLOG_FAKE_NCCL, .cudart = NEOLOG_FAKE_NCCL});
    EXPECT_OK(loaded);
    libraries_ = std::move(loaded).value();
    SetScript("");
  }
  ~FakeLibrary() {
    SetScript("");
    Release();
  }
  const std::shared_ptr<const Libraries>& libraries() const { return libraries_; }
  static void SetScript(const char* script) {
    Call<ScriptFunction>("neologFakeNcclScript")(script);
  }
  static void Release() { Call<ReleaseFunction>("neologFakeNcclRelease")(); }
  static int Live() { return Call<LiveFunction>("neologFakeNcclLive")(); }

 private:
  template <typename Function>
  static Function Call(const char* name) {
    static void* const handle = dlopen(NEOLOG_FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
    return reinterpret_cast<Function>(dlsym(handle, name));
  }
  std::shared_ptr<const Libraries> libraries_;
};

}  // namespace neolog::collective::nccl
