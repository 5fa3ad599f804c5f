#pragma once

#include <string>
#include <string_view>

// Where things lie in this build. Only paths.cc is compiled with them, so that every other test
// file compiles to the same object in every clone, and ccache knows it.
namespace neolog::testing {

/// A path below the source tree, for golden data.
std::string SourcePath(std::string_view relative);
/// A program of this build, by name.
std::string ProgramPath(std::string_view name);
/// A path below the folder that deploy/install-deps.sh fills.
std::string DependencyPath(std::string_view relative);
/// What the numerical tests compute on: NEOLOG_TEST_DEVICE ("cuda:0"), or "cpu".
std::string TestDevice();

}  // namespace neolog::testing
