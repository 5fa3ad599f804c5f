#include "worker/diffusion/attention_check.h"

#include <ATen/SDPBackend.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>
#include <vector>

#include "worker/diffusion/layers.h"
#include "worker/torch_support/call.h"
#include "worker/torch_support/device.h"

namespace neolog::diffusion {
namespace {

constexpr int64_t kTextPositions = 77;

const char* NameOf(at::SDPBackend backend) {
  switch (backend) {
    case at::SDPBackend::flash_attention: return "flash";
    case at::SDPBackend::efficient_attention: return "memory-efficient";
    case at::SDPBackend::cudnn_attention: return "cuDNN";
    case at::SDPBackend::overrideable: return "the device's own";
    default: return "none";
  }
}

}  // namespace

absl::StatusOr<std::string> CheckFusedAttention(const UNetConfig& config, int64_t side,
                                                const ModelOptions& options) {
  ASSIGN_OR_RETURN(const c10::Device device, torch_support::SelectDevice(options.device));
  const at::TensorOptions tensor =
      at::TensorOptions().dtype(ComputeType(options.precision)).device(device);
  std::map<std::string, std::set<int64_t>> heads_by_kernel;
  std::vector<std::string> slow;
  RETURN_IF_ERROR(torch_support::CallTorch("choosing attention kernels", [&] {
    for (size_t level = 0; level < config.block_out_channels.size(); ++level) {
      // The middle block is at the last level.
      const bool last = level + 1 == config.block_out_channels.size();
      const size_t up = config.up_cross_attention.size() - 1 - level;
      if (!last && !config.down_cross_attention[level] && !config.up_cross_attention[up]) continue;
      const int64_t positions = (side >> level) * (side >> level),
                    heads = config.num_attention_heads[level],
                    width = config.block_out_channels[level] / heads;
      for (const int64_t keys : {positions, kTextPositions}) {
        if (!IsFused(options.attention, device, positions * keys)) continue;
        const auto make = [&](int64_t length) {
          return at::empty({1, length, heads, width}, tensor)
              .transpose(1, 2)
              .set_requires_grad(true);
        };
        const at::Tensor q = make(positions), k = make(keys), v = make(keys);
        const auto chosen = static_cast<at::SDPBackend>(at::_fused_sdp_choice(q, k, v));
        if (chosen == at::SDPBackend::math || chosen == at::SDPBackend::error) {
          slow.push_back(fmt::format("{} of {} x {} positions", width, positions, keys));
        } else {
          heads_by_kernel[NameOf(chosen)].insert(width);
        }
      }
    }
  }));
  if (!slow.empty()) {
    return FailedPrecondition(fmt::format(
        "libtorch has no fused attention on {} for heads of {}: it would keep every score, which "
        "takes far more memory and time. Try another model.precision, or set "
        "model.allow_slow_attention: true",
        options.device, fmt::join(slow, " and ")));
  }
  std::vector<std::string> words;
  for (const auto& [kernel, heads] : heads_by_kernel)
    words.push_back(fmt::format("{} for heads of {}", kernel, fmt::join(heads, ", ")));
  return words.empty() ? "none is fused" : fmt::format("{}", fmt::join(words, "; "));
}

}  // namespace neolog::diffusion
