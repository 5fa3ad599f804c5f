#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"

namespace neolog::diffusion {

/// The number format the frozen model computes in.
enum class Precision { kFloat32, kBFloat16, kFloat16 };
/// The same as a type of libtorch.
at::ScalarType ComputeType(Precision precision);

/// How the attention of the UNet is computed. kMatmul always forms the scores: memory grows with
/// the square of the positions. kFlash uses libtorch's fused kernel where the scores are large (its
/// memory is linear in the positions) and forms them where they are small, which is faster there;
/// see Attention in layers.h. The text encoder forms them always.
enum class AttentionKernel { kMatmul, kFlash };

struct ModelOptions {
  Precision precision = Precision::kFloat32;
  AttentionKernel attention = AttentionKernel::kFlash;
  /// "cpu" or "cuda:N".
  std::string device = "cpu";
  /// What is known better than the model's files say.
  CheckpointOptions checkpoint;
};

/// What the noise is predicted as.
enum class PredictionType { kEpsilon, kVPrediction };

/// Sizes, as the model's files say them (see Checkpoint).
struct ModelInfo {
  /// D of each text encoder, the width of its token embeddings: one, or two for SDXL.
  std::vector<int64_t> text_widths;
  int64_t text_positions = 0;  // T: 77
  int64_t vocabulary = 0;
  int64_t start_token = 0;
  int64_t end_token = 0;
  int64_t latent_channels = 4;
  int64_t latent_factor = 8;  // pixels per latent position
  int64_t sample_size = 0;    // the UNet's own latent side
  double scaling_factor = 0.18215;
  PredictionType prediction = PredictionType::kEpsilon;
  NoiseScheduleConfig noise_schedule;  // for samplers; training uses AlphasCumprod
  /// Whether the UNet is conditioned on pooled text and on sizes too (SDXL).
  bool size_conditioning = false;
  /// Width of the pooled text; 0 without.
  int64_t pooled_width = 0;
};

/// Prompts as one text encoder reads them. A slot of -1 keeps the ordinary token, r >= 0 puts
/// learned row r there and the id is ignored. T is at most the encoder's positions, or n times
/// them: then these are n chunks side by side, each encoded for itself.
struct TextInput {
  at::Tensor input_ids;  // [B, T] int64
  at::Tensor slots;      // [B, T] int64
  /// [K, D] float32 shared by the batch, or [B, K, D] float32 with a copy per sample; gradients
  /// flow to it when it requires them.
  at::Tensor rows;
  /// [B, T] float32: what each position's hidden state is weighed with; undefined: nothing is.
  at::Tensor weights = {};
};

/// What the UNet is conditioned on, in the compute dtype.
struct Conditioning {
  at::Tensor hidden;  // [B, T, C]: the encoders' hidden states side by side
  at::Tensor pooled;  // [B, C2], of the first chunk; undefined without size conditioning
  /// [B, 6] int64: height and width of the picture as it was, top and left of the crop, height and
  /// width that are aimed at. Set by the caller where the model has size conditioning.
  at::Tensor time_ids;
};

/// A frozen Stable Diffusion model. No weight requires a gradient; the only gradient that flows
/// is to `rows`. Calls are not thread-safe. Errors of libtorch (shapes, out of memory) come back as
/// Status at the one door in torch_support.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelInfo& info() const = 0;
  /// Where it computes.
  virtual c10::Device device() const = 0;

  /// Token embeddings of encoder `encoder`'s vocabulary, [n, D] float32, for `ids`: what rows start
  /// from.
  virtual at::Tensor TokenEmbeddings(size_t encoder, const std::vector<int64_t>& ids) const = 0;

  /// The text encoders' outputs as the UNet gets them, without time_ids; one input an encoder.
  virtual Conditioning EncodeText(at::ArrayRef<TextInput> inputs) const = 0;

  /// The UNet's prediction, [B, 4, h, w] float32. `latents` [B, 4, h, w] float32 (cast inside),
  /// `timesteps` [B] float32 or int64, `text` from EncodeText.
  virtual at::Tensor PredictNoise(const at::Tensor& latents, const at::Tensor& timesteps,
                                  const Conditioning& text) const = 0;

  /// Posterior of pictures [N, 3, H, W] float32 in [-1, 1]: mean and logvar [N, 4, h, w] float32,
  /// unscaled, logvar clamped to [-30, 20].
  virtual std::pair<at::Tensor, at::Tensor> EncodeImage(const at::Tensor& pixels) const = 0;

  /// Pictures [N, 3, H, W] float32, not clamped, of scaled latents [N, 4, h, w] float32.
  virtual at::Tensor DecodeLatents(const at::Tensor& latents) const = 0;

  /// Cumulative products of 1 - beta over the timesteps, [1000] float32, from the model's scheduler
  /// configuration.
  virtual const at::Tensor& AlphasCumprod() const = 0;
};

/// Loads any model that OpenCheckpoint opens. NotFound when there is none; InvalidArgument names
/// file and key and, for damage, the byte offset. Weights that need no cast stay pages of their
/// files, except those that lie at no multiple of 16 bytes there. A weight that is cast or moved is
/// refused by name when it holds NaN or a number that the type cannot hold; the others are not read
/// at all before they are used. The same weights give the same bits from whatever container they
/// come.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path,
                                                 const ModelOptions& options);
/// The same of a model that is open; `options.checkpoint` is not looked at.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint,
                                                 const ModelOptions& options);

}  // namespace neolog::diffusion
