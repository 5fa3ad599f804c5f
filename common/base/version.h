#pragma once

namespace neolog {

/// The version of every program here, major.minor.patch. Programs of another major.minor refuse
/// each other.
inline constexpr char kVersion[] = "0.1.0";

}  // namespace neolog
