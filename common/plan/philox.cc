#include "common/plan/philox.h"

#include <cmath>

#include "common/plan/fixed_math.h"

namespace neolog {
namespace {

constexpr uint32_t kMultiplier0 = 0xD2511F53;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;  // golden ratio
constexpr uint32_t kWeyl1 = 0xBB67AE85;  // sqrt(3) - 1
constexpr double kTwoToMinus32 = 1.0 / 4294967296.0;

std::array<uint32_t, 4> Block(const RandomKey& key, uint64_t block) {
  return Philox4x32(
      {static_cast<uint32_t>(block), key.sample, key.step, static_cast<uint32_t>(key.purpose)},
      {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
}

// (word + 0.5) / 2^32: exact in double, never 0 and never 1.
double OpenUniform(uint32_t word) { return (static_cast<double>(word) + 0.5) * kTwoToMinus32; }

}  // namespace

std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key) {
  std::array<uint32_t, 4> c = counter;
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * c[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * c[2];
    c = {static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(product0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

uint32_t RandomWord(const RandomKey& key, uint64_t element) {
  return Block(key, element / 4)[element % 4];
}

uint32_t RandomBelow(const RandomKey& key, uint64_t element, uint32_t bound) {
  return static_cast<uint32_t>((uint64_t{RandomWord(key, element)} * bound) >> 32);
}

void FillNormal(const RandomKey& key, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 4) {
    const std::array<uint32_t, 4> words = Block(key, i / 4);
    for (size_t pair = 0; pair < 2; ++pair) {
      const size_t at = i + 2 * pair;
      if (at >= out.size()) return;
      const double radius = std::sqrt(-2.0 * FixedLog(OpenUniform(words[2 * pair])));
      const SinCos turn = FixedSinCosTurns(OpenUniform(words[2 * pair + 1]));
      out[at] = static_cast<float>(radius * turn.cos);
      if (at + 1 < out.size()) out[at + 1] = static_cast<float>(radius * turn.sin);
    }
  }
}

}  // namespace neolog
