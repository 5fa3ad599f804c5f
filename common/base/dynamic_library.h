#pragma once

#include <string>

#include "common/base/status.h"

namespace neolog {

/// A library that is loaded when it is used. Never unloaded, since threads of its own may outlive
/// every use of it; its symbols are not shown to anything else.
class DynamicLibrary {
 public:
  /// `path` is a name that the loader finds, or a path. NotFound with the loader's words.
  static absl::StatusOr<DynamicLibrary> Open(const std::string& path);

  /// Resolves `name` into `function`; null where the library has none. The first that is missing is
  /// remembered for Complete.
  template <typename Function>
  void Resolve(const char* name, Function& function) {
    function = reinterpret_cast<Function>(Find(name));
    if (function == nullptr && missing_.empty()) missing_ = name;
  }
  /// NotFound when a Resolve found nothing.
  absl::Status Complete() const;

 private:
  DynamicLibrary(std::string path, void* handle) : path_(std::move(path)), handle_(handle) {}
  void* Find(const char* name) const;

  std::string path_;
  void* handle_;
  std::string missing_;
};

}  // namespace neolog
