#include "worker/train/adamw.h"

#include <cmath>

#include "common/plan/fixed_math.h"

namespace neolog::train {

void AdamWStep(const AdamWOptions& options, double learning_rate, uint64_t step,
               std::span<const float> gradient, const AdamWBuffers& buffers) {
  const float decay = static_cast<float>(1.0 - learning_rate * options.weight_decay);
  const float weight1 = static_cast<float>(1.0 - options.beta1);
  const float beta2 = static_cast<float>(options.beta2);
  const float weight2 = static_cast<float>(1.0 - options.beta2);
  const double correction1 = 1.0 - FixedPow(options.beta1, step);
  const double correction2 = 1.0 - FixedPow(options.beta2, step);
  const float step_size = static_cast<float>(-(learning_rate / correction1));
  const float root_correction2 = static_cast<float>(std::sqrt(correction2));
  const float epsilon = static_cast<float>(options.epsilon);
  for (size_t i = 0; i < gradient.size(); ++i) {
    const float g = gradient[i];
    float& m = buffers.exp_avg[i];
    float& v = buffers.exp_avg_sq[i];
    float& row = buffers.rows[i];
    row *= decay;
    // torch's lerp measures from the nearer end.
    const float away = g - m;
    m = weight1 < 0.5f ? std::fma(weight1, away, m) : std::fma(weight1 - 1.0f, away, g);
    v *= beta2;
    v = std::fma(weight2 * g, g, v);
    const float denominator = std::sqrt(v) / root_correction2 + epsilon;
    row += step_size * m / denominator;
  }
}

}  // namespace neolog::train
