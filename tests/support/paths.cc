#include "tests/support/paths.h"

#include <fmt/format.h>

#include <cstdlib>

namespace neolog::testing {

std::string SourcePath(std::string_view relative) {
  return fmt::format("{}/{}", NEOLOG_SOURCE_DIR, relative);
}

std::string ProgramPath(std::string_view name) {
  return fmt::format("{}/bin/{}", NEOLOG_BINARY_DIR, name);
}

std::string DependencyPath(std::string_view relative) {
  return fmt::format("{}/{}", NEOLOG_DEPS_DIR, relative);
}

std::string TestDevice() {
  const char* device = std::getenv("NEOLOG_TEST_DEVICE");
  return device != nullptr ? device : "cpu";
}

}  // namespace neolog::testing
