#include "worker/dataset/posterior.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cstring>

#include "common/base/hash.h"
#include "worker/torch_support/call.h"

namespace neolog::dataset {

at::Tensor PixelsOf(const Image& image) {
  at::Tensor bytes = at::empty({image.height, image.width, 3}, at::kByte);
  std::memcpy(bytes.data_ptr<uint8_t>(), image.rgb.data(), image.rgb.size());
  return (bytes.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat) / 127.5 - 1).contiguous();
}

LatentRequest LatentRequestOf(const v1::RunSpec& spec, uint32_t image, uint32_t resolution,
                              bool flip, std::string_view numerics) {
  const v1::Sample& sample = spec.data().samples(static_cast<int>(image));
  LatentRequest request;
  request.image_digest = sample.image_digest();
  request.file_name = sample.file_name();
  request.resolution = resolution;
  request.flip = flip;
  // The model's path stands in where nobody knew its fingerprint.
  const std::string& model =
      spec.model().fingerprint().empty() ? spec.model().path() : spec.model().fingerprint();
  request.key =
      Sha256Hex(fmt::format("neolog posterior 2\n{}\n{}\n{}\n{}\n{}", request.image_digest,
                            resolution, flip ? "flipped" : "as it is", model, numerics));
  return request;
}

absl::StatusOr<std::string> EncodePosterior(const diffusion::Model& model, BlobStore& blobs,
                                            const LatentRequest& request) {
  ASSIGN_OR_RETURN_WITH(const std::string file, blobs.Get(request.image_digest),
                        fmt::format("fetching picture '{}'", request.file_name));
  ASSIGN_OR_RETURN(const Image decoded, DecodeImage(file, request.file_name));
  ASSIGN_OR_RETURN_WITH(const Image square,
                        PrepareSquare(decoded, static_cast<int>(request.resolution), request.flip),
                        fmt::format("picture '{}'", request.file_name));
  return torch_support::CallTorch(fmt::format("encoding picture '{}'", request.file_name), [&] {
    const at::NoGradGuard no_grad;
    const auto [mean, logvar] = model.EncodeImage(PixelsOf(square));
    const at::Tensor moments = at::stack({mean[0], logvar[0]}).cpu().contiguous();
    return std::string(reinterpret_cast<const char*>(moments.data_ptr<float>()),
                       static_cast<size_t>(moments.numel()) * sizeof(float));
  });
}

absl::StatusOr<Posterior> ParsePosterior(std::string_view bytes, const diffusion::ModelInfo& info,
                                         uint32_t resolution) {
  const int64_t side = resolution / info.latent_factor;
  const size_t expected =
      static_cast<size_t>(2 * info.latent_channels * side * side) * sizeof(float);
  if (bytes.size() != expected) {
    return InvalidArgument(
        fmt::format("{} bytes; expected {} for {} channels of {} x {} latent positions",
                    bytes.size(), expected, info.latent_channels, side, side));
  }
  at::Tensor moments = at::empty({2, info.latent_channels, side, side}, at::kFloat);
  std::memcpy(moments.data_ptr<float>(), bytes.data(), bytes.size());
  if (!at::isfinite(moments).all().item<bool>()) {
    return InvalidArgument(
        "it holds a value that is not finite; set model.precision to fp32, or leave the picture "
        "out");
  }
  return Posterior{moments[0].clone(), (moments[1] * 0.5).exp()};
}

at::Tensor DrawLatent(const Posterior& posterior, const at::Tensor& noise, double scaling_factor) {
  return (posterior.mean + posterior.deviation * noise) * scaling_factor;
}

}  // namespace neolog::dataset
