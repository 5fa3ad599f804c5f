#include "common/base/dynamic_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace neolog {

absl::StatusOr<DynamicLibrary> DynamicLibrary::Open(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return DynamicLibrary(path, handle);
  const char* error = dlerror();
  return NotFound(error == nullptr ? path : error);
}

void* DynamicLibrary::Find(const char* name) const { return dlsym(handle_, name); }

absl::Status DynamicLibrary::Complete() const {
  if (missing_.empty()) return absl::OkStatus();
  return NotFound(fmt::format("{} has no {}: it is another library, or too old", path_, missing_));
}

}  // namespace neolog
