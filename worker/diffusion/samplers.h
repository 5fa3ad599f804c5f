#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/config.h"
#include "worker/diffusion/model.h"

/// Samplers turn noise into latents. They know no model: they ask a callback for the prediction,
/// and get every random number from outside. Conventions are k-diffusion's as A1111 1.6-1.10 uses
/// them, so that pictures can be compared.
namespace neolog::diffusion {

struct SamplerOptions {
  /// "euler_a" or "ddim".
  std::string name = "euler_a";
  /// Asked-for steps, 1 to the number of training timesteps.
  int steps = 20;
  /// Share of fresh noise; unset: 1 for euler_a, 0 for ddim.
  std::optional<double> eta;
  NoiseScheduleConfig noise_schedule;
  PredictionType prediction = PredictionType::kEpsilon;
};

/// The model's raw prediction (noise or velocity, as SamplerOptions::prediction says) for x [N, C,
/// h, w] float32 at an unrounded timestep: first without the prompt, then with it.
struct GuidedPrediction {
  at::Tensor unconditional, conditional;
};
using Predictor = std::function<GuidedPrediction(const at::Tensor& x, double timestep)>;

/// The standard normal draw of step i, in the shape of x; 0 is the initial one. Asked for in rising
/// order, each at most once.
using NoiseSource = std::function<at::Tensor(int i)>;

/// Called after every step; false ends sampling early (the result is then the state reached).
using SamplerProgress = std::function<bool(int step, int steps)>;

class Sampler {
 public:
  virtual ~Sampler() = default;

  /// "sigmas" or "timesteps": what schedule() holds.
  virtual std::string_view schedule_name() const = 0;
  /// How the sampler defines itself, in the order of use: noise levels with a final 0, or
  /// timesteps.
  virtual const std::vector<double>& schedule() const = 0;
  /// Steps that Sample takes; ddim may take one more than asked for, where 1000/steps is not whole.
  virtual int steps() const = 0;
  /// Draws after the initial one that Sample asks for at most: draw i for 1 <= i <= this.
  virtual int draws() const = 0;

  /// Scaled latents, float32, of the shape of the draws. `cfg` is the guidance scale: u + cfg·(c -
  /// u). Computes no gradients. Throws as libtorch does.
  virtual at::Tensor Sample(const Predictor& predict, double cfg, const NoiseSource& noise,
                            const SamplerProgress& progress = {}) const = 0;
};

/// Names that MakeSampler knows.
const std::vector<std::string>& SamplerNames();

/// InvalidArgument for an unknown name, steps out of range, or an eta that is negative or not
/// finite.
absl::StatusOr<std::unique_ptr<Sampler>> MakeSampler(const SamplerOptions& options);

}  // namespace neolog::diffusion
