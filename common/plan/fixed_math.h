#pragma once

#include <cstdint>

namespace neolog {

/// Elementary functions whose bits are the same everywhere: they use only the operations that IEEE
/// 754 rounds correctly
/// (+, -, *, /, fma), in a fixed order. The C library's own differ between versions and processors.
/// The build forbids contraction (-ffp-contract=off).

/// Natural logarithm of a positive, finite, normal double; within 2 units in the last place.
double FixedLog(double x);

struct SinCos {
  double sin = 0;
  double cos = 0;
};

/// Sine and cosine of 2 pi `turns`, for 0 <= turns <= 1; absolute error below 3e-16.
SinCos FixedSinCosTurns(double turns);

/// base^exponent for 0 <= base <= 1, carried in twice the precision of double and rounded once.
double FixedPow(double base, uint64_t exponent);

}  // namespace neolog
