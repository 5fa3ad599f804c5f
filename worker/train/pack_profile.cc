#include "worker/train/pack_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "common/checkpoint/checkpoint.h"
#include "worker/diffusion/attention_check.h"
#include "worker/torch_support/runtime.h"

namespace neolog::train {
namespace {

absl::StatusOr<diffusion::Precision> ParsePrecision(const std::string& name) {
  if (name == "fp32") return diffusion::Precision::kFloat32;
  if (name == "bf16") return diffusion::Precision::kBFloat16;
  if (name == "fp16") return diffusion::Precision::kFloat16;
  return InvalidArgument(
      fmt::format("model.precision '{}' cannot be trained in; expected fp32, bf16 or fp16", name));
}

CheckpointOptions CheckpointOptionsOf(const v1::ModelSpec& spec) {
  CheckpointOptions options;
  options.vae_path = spec.vae();
  if (spec.prediction() == "epsilon") options.v_prediction = false;
  if (spec.prediction() == "v_prediction") options.v_prediction = true;
  return options;
}

// Zero is proto's "not set".
uint32_t FirstSet(uint32_t a, uint32_t b, uint32_t otherwise) {
  return a != 0 ? a : b != 0 ? b : otherwise;
}

absl::Status CheckSame(const v1::RunSpec& first, const v1::RunSpec& other) {
  std::string_view setting;
  if (other.model().path() != first.model().path()) setting = "model.path";
  if (other.model().fingerprint() != first.model().fingerprint()) setting = "model.fingerprint";
  if (other.model().vae() != first.model().vae()) setting = "model.vae";
  if (other.model().prediction() != first.model().prediction()) setting = "model.prediction";
  if (other.model().precision() != first.model().precision()) setting = "model.precision";
  if (other.data().resolution() != first.data().resolution()) setting = "data.resolution";
  if (other.training().reduce() != first.training().reduce()) setting = "training.reduce";
  if (other.training().microbatch() != first.training().microbatch())
    setting = "training.microbatch";
  if ((other.resources().cuda_graph() == "on") != (first.resources().cuda_graph() == "on"))
    setting = "resources.cuda_graph";
  if (other.resources().threads_per_worker() != first.resources().threads_per_worker()) {
    setting = "resources.threads_per_worker";
  }
  if (setting.empty()) return absl::OkStatus();
  return InvalidArgument(
      fmt::format("runs '{}' and '{}' differ in {}: they cannot be trained in one pack",
                  first.name(), other.name(), setting));
}

absl::Status CheckMachine(const v1::NumericProfile& profile) {
  const torch_support::Capabilities here = torch_support::GetCapabilities();
  const auto check = [](std::string_view what, const std::string& wanted, const std::string& have) {
    if (wanted.empty() || wanted == have) return absl::OkStatus();
    return FailedPrecondition(fmt::format(
        "the run's numeric profile has {} '{}', this worker has '{}': its results would differ",
        what, wanted, have));
  };
  RETURN_IF_ERROR(check("instruction set", profile.instruction_set(), here.instruction_set));
  return check("libtorch build", profile.torch_build(), here.torch_build);
}

}  // namespace

absl::StatusOr<PackProfile> ResolvePackProfile(const v1::Assignment& assignment,
                                               int default_threads, const std::string& device) {
  const v1::NumericProfile& profile = assignment.profile();
  const v1::RunSpec& first = assignment.runs(0).spec();
  for (const v1::RunAssignment& run : assignment.runs())
    RETURN_IF_ERROR(CheckSame(first, run.spec()));
  RETURN_IF_ERROR(CheckMachine(profile));
  if (!profile.precision().empty() && !first.model().precision().empty() &&
      profile.precision() != first.model().precision()) {
    return InvalidArgument(
        fmt::format("run '{}' has model.precision {}, but its numeric profile {}", first.name(),
                    first.model().precision(), profile.precision()));
  }

  PackProfile resolved;
  resolved.threads = static_cast<int>(FirstSet(profile.threads_per_worker(),
                                               first.resources().threads_per_worker(),
                                               static_cast<uint32_t>(default_threads)));
  resolved.microbatch = FirstSet(profile.microbatch(), first.training().microbatch(), 1);
  // auto: nobody has measured it yet.
  resolved.graph = first.resources().cuda_graph() == "on";
  if (resolved.graph && device == "cpu") {
    return InvalidArgument(fmt::format(
        "run '{}' has resources.cuda_graph: on, but computes on a CPU; expected auto or "
        "off there",
        first.name()));
  }
  resolved.sums = first.training().reduce() == "fast";
  resolved.model.device = device;
  std::string precision =
      profile.precision().empty() ? first.model().precision() : profile.precision();
  if (precision.empty()) precision = "fp32";
  ASSIGN_OR_RETURN(resolved.model.precision, ParsePrecision(precision));

  resolved.model.checkpoint = CheckpointOptionsOf(first.model());
  ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                   OpenCheckpoint(first.model().path(), resolved.model.checkpoint));
  const int64_t factor = checkpoint.vae.Factor();  // pixels per latent position
  resolved.resolution = first.data().resolution();
  if (resolved.resolution == 0)
    resolved.resolution = static_cast<uint32_t>(checkpoint.unet.sample_size * factor);
  // The UNet halves latent sides once per block but the last.
  const int64_t step = factor << (checkpoint.unet.block_out_channels.size() - 1);
  if (resolved.resolution == 0 || resolved.resolution % step != 0) {
    return InvalidArgument(
        fmt::format("data.resolution {} does not fit the model '{}'; expected a multiple of {}",
                    resolved.resolution, first.model().path(), step));
  }
  const int64_t side = resolved.resolution / factor;
  if (profile.attention().empty()) {
    resolved.model.attention = side * side <= kMatmulPositions ? diffusion::AttentionKernel::kMatmul
                                                               : diffusion::AttentionKernel::kFlash;
  } else if (profile.attention() == "matmul") {
    resolved.model.attention = diffusion::AttentionKernel::kMatmul;
  } else if (profile.attention() == "flash") {
    resolved.model.attention = diffusion::AttentionKernel::kFlash;
  } else {
    return InvalidArgument(
        fmt::format("the numeric profile's attention '{}' is unknown; expected matmul or flash",
                    profile.attention()));
  }
  const auto kernels = diffusion::CheckFusedAttention(checkpoint.unet, side, resolved.model);
  const bool slow_allowed =
      std::all_of(assignment.runs().begin(), assignment.runs().end(),
                  [](const auto& run) { return run.spec().model().allow_slow_attention(); });
  if (!kernels.ok() && !(slow_allowed && absl::IsFailedPrecondition(kernels.status())))
    return kernels.status();
  resolved.attention_kernels = kernels.ok() ? *kernels : ToStd(kernels.status().message());
  resolved.memory = EstimateMemory(
      checkpoint, {.precision = precision, .side = resolved.resolution, .gpu = device != "cpu"});
  const torch_support::Capabilities here = torch_support::GetCapabilities();
  // Members share posteriors by this line: it says the kind of device, not which of a host's it is,
  // and under reduce: fast nothing in which members may differ.
  const std::string kind = device == "cpu" ? device : "cuda " + profile.device();
  const std::string set = resolved.sums ? "any" : here.instruction_set,
                    build = resolved.sums ? "any" : here.torch_build;
  resolved.numerics = fmt::format("{}; {}; {}; precision {}; {} threads; attention {}", set, build,
                                  kind, static_cast<int>(resolved.model.precision),
                                  resolved.threads, static_cast<int>(resolved.model.attention));
  return resolved;
}

}  // namespace neolog::train
