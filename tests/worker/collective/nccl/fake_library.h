#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/collective/nccl/fake_nccl.h"
#include "worker/collective/nccl/libraries.h"

namespace neolog::collective::nccl {

/// The fake libnccl, loaded as the real one is, without faults at first. What its ranks meet in
/// goes with this object.
class FakeLibrary {
 public:
  FakeLibrary() {
    if (const char* before = std::getenv("TMPDIR")) temporary_ = before;
    setenv("TMPDIR", dir_.path().c_str(), /*replace=*/1);
    auto loaded = Load({.nccl = NEOLOG_FAKE_NCCL, .cudart = NEOLOG_FAKE_NCCL});
    EXPECT_OK(loaded);
    libraries_ = std::move(loaded).value();
    SetScript("");
  }
  ~FakeLibrary() {
    SetScript("");
    Release();
    temporary_.has_value() ? setenv("TMPDIR", temporary_->c_str(), 1) : unsetenv("TMPDIR");
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
  testing::ScopedDir dir_;
  std::optional<std::string> temporary_;  // TMPDIR before
  std::shared_ptr<const Libraries> libraries_;
};

}  // namespace neolog::collective::nccl
