#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace neolog {

/// A read-only, private mapping of a file into memory. The bytes stay at their place while the
/// object lives.
class Mapping {
 public:
  Mapping() = default;
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// Maps `path`; once. NotFound, InvalidArgument for what is no file, FailedPrecondition for
  /// anything else, all naming it.
  absl::Status Map(const std::string& path);
  std::string_view bytes() const {
    return {static_cast<const char*>(data_), data_ == nullptr ? 0 : size_};
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace neolog
