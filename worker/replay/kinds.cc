#include "worker/replay/kinds.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "worker/torch_support/call.h"
#include "worker/torch_support/tensors.h"

namespace neolog::replay {
namespace {

using torch_support::CallTorch;

struct Entry {
  const char* name;
  absl::StatusOr<std::unique_ptr<Kind>> (*make)(const KindContext&);
};
constexpr Entry kKinds[] = {
    {"train", MakeTrainKind},
    {"vae_encode", MakeVaeEncodeKind},
    {"vae_decode", MakeVaeDecodeKind},
    {"sample", MakeSampleKind},
};

// A flat index as "[s, b, t]".
std::string Place(size_t flat, const std::vector<int64_t>& shape) {
  std::vector<int64_t> place(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    place[i] = static_cast<int64_t>(flat) % shape[i];
    flat /= shape[i];
  }
  return fmt::format("[{}]", fmt::join(place, ", "));
}

class VaeEncode : public Kind {
 public:
  explicit VaeEncode(const KindContext& context) : file_(*context.file) {}
  absl::StatusOr<Result> Run(const diffusion::Model& model) const override {
    Sizes sizes;
    RETURN_IF_ERROR(file_.Check({{"pixels", TensorType::kFloat32, "N,3,H,W"}}, sizes));
    for (const char* side : {"H", "W"}) {
      if (sizes[side] % model.info().latent_factor != 0) {
        return InvalidArgument(
            fmt::format("tensor 'pixels' has {} = {}; expected a multiple of the VAE's factor {}",
                        side, sizes[side], model.info().latent_factor));
      }
    }
    return CallTorch("encoding the pixels", [&] {
      auto [mean, logvar] = model.EncodeImage(TensorOf(file_, "pixels"));
      return Result{{"mean", mean.cpu().contiguous()}, {"logvar", logvar.cpu().contiguous()}};
    });
  }

 private:
  const CaseFile& file_;
};

class VaeDecode : public Kind {
 public:
  explicit VaeDecode(const KindContext& context) : file_(*context.file) {}
  absl::StatusOr<Result> Run(const diffusion::Model& model) const override {
    Sizes sizes{{"4", model.info().latent_channels}};
    RETURN_IF_ERROR(file_.Check({{"latents", TensorType::kFloat32, "N,4,h,w"}}, sizes));
    return CallTorch("decoding the latents", [&] {
      return Result{{"pixels", model.DecodeLatents(TensorOf(file_, "latents")).cpu().contiguous()}};
    });
  }

 private:
  const CaseFile& file_;
};

template <typename T>
absl::StatusOr<std::unique_ptr<Kind>> MakeWithoutSettings(const KindContext& context) {
  Settings settings = context.file->settings();
  RETURN_IF_ERROR(settings.Finish());
  return std::unique_ptr<Kind>(std::make_unique<T>(context));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Kind>> MakeVaeEncodeKind(const KindContext& context) {
  return MakeWithoutSettings<VaeEncode>(context);
}

absl::StatusOr<std::unique_ptr<Kind>> MakeVaeDecodeKind(const KindContext& context) {
  return MakeWithoutSettings<VaeDecode>(context);
}

absl::StatusOr<std::unique_ptr<Kind>> MakeKind(const KindContext& context) {
  std::vector<std::string> names;
  for (const Entry& entry : kKinds) {
    if (context.file->settings().kind() == entry.name) return entry.make(context);
    names.push_back(entry.name);
  }
  return InvalidArgument(fmt::format("kind '{}' is not known; known: {}",
                                     context.file->settings().kind(), fmt::join(names, ", ")));
}

at::Tensor TensorOf(const CaseFile& file, const std::string& name) {
  const auto it = file.file()->tensors().find(name);
  return it == file.file()->tensors().end() ? at::Tensor()
                                            : torch_support::TensorOver(it->second, file.file());
}

absl::Status CheckTokens(const CaseFile& file, int64_t rows, int64_t vocabulary) {
  const at::Tensor ids = TensorOf(file, "input_ids"), slots = TensorOf(file, "slots");
  const auto* id = ids.const_data_ptr<int64_t>();
  const auto* slot = slots.const_data_ptr<int64_t>();
  for (size_t i = 0; i < static_cast<size_t>(ids.numel()); ++i) {
    if (slot[i] < -1 || slot[i] >= rows) {
      return InvalidArgument(
          fmt::format("tensor 'slots' has {} at {}; expected -1 (an ordinary token) to {} (K - 1)",
                      slot[i], Place(i, slots.sizes().vec()), rows - 1));
    }
    if (slot[i] == -1 && (id[i] < 0 || id[i] >= vocabulary)) {
      return InvalidArgument(fmt::format(
          "tensor 'input_ids' has {} at {}, where 'slots' is -1; the vocabulary has 0 to {}", id[i],
          Place(i, ids.sizes().vec()), vocabulary - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace neolog::replay
