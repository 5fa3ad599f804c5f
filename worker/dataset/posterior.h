#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/image/image.h"
#include "common/storage/blob_store.h"
#include "neolog/v1/run_spec.pb.h"
#include "worker/diffusion/model.h"

namespace neolog::dataset {

/// The picture as the VAE takes it: [1, 3, height, width] float32, byte / 127.5 - 1.
at::Tensor PixelsOf(const Image& image);

/// A picture as the VAE is to see it, and the name its posterior is kept under.
struct LatentRequest {
  /// 64 hex digits over everything that the posterior's bytes follow from: the picture's digest,
  /// resolution, flip, the model's fingerprint and the numeric profile.
  std::string key;
  std::string image_digest;
  std::string file_name;  // for messages
  uint32_t resolution = 0;
  bool flip = false;
};

/// The posterior of picture `image` of a run at `resolution` pixels, encoded under the profile that
/// `numerics` describes.
LatentRequest LatentRequestOf(const v1::RunSpec& spec, uint32_t image, uint32_t resolution,
                              bool flip, std::string_view numerics);

/// A picture's posterior, ready for drawing latents.
struct Posterior {
  at::Tensor mean;       // [C, h, w] float32
  at::Tensor deviation;  // exp(logvar / 2), [C, h, w] float32
};

/// Fetches, decodes and transforms one picture and encodes it alone, so that its bytes do not
/// depend on others: mean and logvar, [2, C, h, w] float32 little-endian. Errors name the picture:
/// NotFound without its blob, InvalidArgument when it cannot be decoded.
absl::StatusOr<std::string> EncodePosterior(const diffusion::Model& model, BlobStore& blobs,
                                            const LatentRequest& request);

/// Reads what EncodePosterior wrote, for a picture of `resolution` pixels. InvalidArgument when the
/// size does not fit or a value is not finite: the VAE overflowed, or the blob is another's.
absl::StatusOr<Posterior> ParsePosterior(std::string_view bytes, const diffusion::ModelInfo& info,
                                         uint32_t resolution);

/// A scaled latent [C, h, w] float32: (mean + deviation * noise) * scaling_factor.
at::Tensor DrawLatent(const Posterior& posterior, const at::Tensor& noise, double scaling_factor);

}  // namespace neolog::dataset
