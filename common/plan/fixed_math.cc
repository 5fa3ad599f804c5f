#include "common/plan/fixed_math.h"

#include <bit>
#include <cmath>

namespace neolog {
namespace {

constexpr double kHalfPi = 1.57079632679489661923;
constexpr double kLn2High =
    6.93147180369123816490e-01;  // ends in zero bits: times an exponent it is exact
constexpr double kLn2Low = 1.90821492927058770002e-10;
constexpr double kSqrtHalf = 0.70710678118654752440;

// sin(a) and cos(a) by their Taylor series, for 0 <= a <= pi/4: the first term left out is below
// 1e-19.
double SinSeries(double a) {
  const double s = a * a;
  double p = 1.0 / 355687428096000.0;  // 1/17!
  p = p * s - 1.0 / 1307674368000.0;
  p = p * s + 1.0 / 6227020800.0;
  p = p * s - 1.0 / 39916800.0;
  p = p * s + 1.0 / 362880.0;
  p = p * s - 1.0 / 5040.0;
  p = p * s + 1.0 / 120.0;
  p = p * s - 1.0 / 6.0;
  return a + a * s * p;
}

double CosSeries(double a) {
  const double s = a * a;
  double p = -1.0 / 6402373705728000.0;  // -1/18!
  p = p * s + 1.0 / 20922789888000.0;
  p = p * s - 1.0 / 87178291200.0;
  p = p * s + 1.0 / 479001600.0;
  p = p * s - 1.0 / 3628800.0;
  p = p * s + 1.0 / 40320.0;
  p = p * s - 1.0 / 720.0;
  p = p * s + 1.0 / 24.0;
  p = p * s - 0.5;
  return 1.0 + s * p;
}

// An unevaluated sum high + low.
struct Twofold {
  double high = 1;
  double low = 0;
};

Twofold Multiply(const Twofold& a, const Twofold& b) {
  const double product = a.high * b.high;
  const double error = std::fma(a.high, b.high, -product);
  const double low = error + (a.high * b.low + a.low * b.high);
  const double high = product + low;
  return {high, low - (high - product)};
}

}  // namespace

double FixedLog(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1022;
  // m in [0.5, 1), then moved to [sqrt(1/2), sqrt(2)).
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFull) | 0x3FE0000000000000ull);
  if (m < kSqrtHalf) {
    m *= 2;
    --exponent;
  }
  // log m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.1716; the first term left out is below
  // 1e-18.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 21.0;
  for (double divisor = 19.0; divisor > 2.0; divisor -= 2.0) p = p * z + 1.0 / divisor;
  const double log_m = 2.0 * s + 2.0 * s * z * p;
  const double e = exponent;
  return e * kLn2High + (e * kLn2Low + log_m);
}

SinCos FixedSinCosTurns(double turns) {
  double quarters = turns * 4.0;
  const int quadrant = static_cast<int>(quarters) & 3;
  quarters -= static_cast<int>(quarters);  // exact
  const bool upper = quarters > 0.5;
  const double angle = (upper ? 1.0 - quarters : quarters) * kHalfPi;
  double sine = SinSeries(angle);
  double cosine = CosSeries(angle);
  if (upper) {
    const double swap = sine;
    sine = cosine;
    cosine = swap;
  }
  switch (quadrant) {
    case 0: return {sine, cosine};
    case 1: return {cosine, -sine};
    case 2: return {-sine, -cosine};
    default: return {-cosine, sine};
  }
}

double FixedPow(double base, uint64_t exponent) {
  Twofold result;
  Twofold square{base, 0};
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = Multiply(result, square);
    square = Multiply(square, square);
  }
  return result.high + result.low;
}

}  // namespace neolog
