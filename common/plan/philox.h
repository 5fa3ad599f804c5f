#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace neolog {

/// One block of Philox4x32-10: four words from a 128-bit counter and a 64-bit key. Stateless and
/// the same on every machine. Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2,
/// 3", SC 2011; the known answers of its Random123 library are in the test.
std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key);

/// What a random number is for. The value is the last counter word, so streams of different
/// purposes never meet. The numbers are part of the result of a seed: never renumber, only add.
enum class RandomPurpose : uint32_t {
  kEpochOrder = 1,          // order of the pictures in one epoch
  kFlip = 2,                // whether a sample's picture is mirrored
  kTemplate = 3,            // a sample's prompt template
  kTimestep = 4,            // a sample's timestep
  kPosteriorNoise = 5,      // n0: the draw from a picture's posterior
  kDiffusionNoise = 6,      // epsilon: what the model has to predict
  kValidationTimestep = 7,  // the same three for the validation loss
  kValidationPosterior = 8,
  kValidationNoise = 9,
  kSampler = 10,  // pictures: step 0 is the start, step i the draw of sampling step i
};

/// Names one stream of random numbers. Counter words: element / 4, `sample`, `step`, `purpose`;
/// key: the seed, low word first.
struct RandomKey {
  uint64_t seed = 0;
  RandomPurpose purpose = RandomPurpose::kEpochOrder;
  /// The optimiser step counted from 0 (completed steps), the low word of an epoch, or the sampling
  /// step.
  uint32_t step = 0;
  /// The sample within its step, the high word of an epoch, or the validation draw.
  uint32_t sample = 0;

  friend bool operator==(const RandomKey&, const RandomKey&) = default;
};

/// Word `element` of the stream.
uint32_t RandomWord(const RandomKey& key, uint64_t element);

/// Uniform in [0, bound) from word `element`: floor(word * bound / 2^32). The bias is below bound /
/// 2^32. bound >= 1.
uint32_t RandomBelow(const RandomKey& key, uint64_t element, uint32_t bound);

/// Elements 0, 1, … of the stream as standard normals, by Box-Muller. Words a, b of a block, in
/// pairs (0, 1) and (2, 3):
///   u = (a + 0.5) / 2^32, v = (b + 0.5) / 2^32, r = sqrt(-2 log u);
///   first normal r cos(2 pi v), second r sin(2 pi v), each rounded once from double to float.
/// log, sin and cos are our own (fixed_math.h), so the bits are the same with every compiler and C
/// library. |x| < 6.77.
void FillNormal(const RandomKey& key, std::span<float> out);

}  // namespace neolog
