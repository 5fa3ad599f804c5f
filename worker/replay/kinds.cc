#include "worker/replay/kinds.h"

#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "worker/diffusion/rows.h"
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

std::vector<std::string> NamesOf(const std::string& name, const diffusion::ModelInfo& info) {
  std::vector<std::string> names = {name};
  if (info.text_widths.size() > 1) names.push_back(name + "_2");
  return names;
}

std::vector<TensorRule> TextRules(const std::string& lead, const diffusion::ModelInfo& info) {
  std::vector<TensorRule> rules;
  for (const char* name : {"input_ids", "slots"}) {
    for (const std::string& tensor : NamesOf(name, info))
      rules.push_back({tensor, TensorType::kInt64, lead + ",T"});
  }
  const std::vector<std::string> widths = NamesOf("D", info), rows = NamesOf("rows", info);
  for (size_t i = 0; i < rows.size(); ++i)
    rules.push_back({rows[i], TensorType::kFloat32, "K," + widths[i]});
  if (info.size_conditioning) rules.push_back({"time_ids", TensorType::kInt64, lead + ",6"});
  return rules;
}

Sizes TextSizes(const diffusion::ModelInfo& info) {
  Sizes sizes{{"T", info.text_positions}, {"4", info.latent_channels}};
  const std::vector<std::string> widths = NamesOf("D", info);
  for (size_t i = 0; i < widths.size(); ++i) sizes[widths[i]] = info.text_widths[i];
  return sizes;
}

absl::Status CheckTokens(const CaseFile& file, int64_t rows, const diffusion::ModelInfo& info) {
  const std::vector<std::string> ids_names = NamesOf("input_ids", info),
                                 slots_names = NamesOf("slots", info);
  for (size_t e = 0; e < ids_names.size(); ++e) {
    const at::Tensor ids = TensorOf(file, ids_names[e]), slots = TensorOf(file, slots_names[e]);
    const auto* id = ids.const_data_ptr<int64_t>();
    const auto* slot = slots.const_data_ptr<int64_t>();
    const bool pooled = info.pooled_width != 0 && e + 1 == ids_names.size();
    bool ended = false;
    for (size_t i = 0; i < static_cast<size_t>(ids.numel()); ++i) {
      if (slot[i] < -1 || slot[i] >= rows) {
        return InvalidArgument(
            fmt::format("tensor '{}' has {} at {}; expected -1 (an ordinary token) to {} (K - 1)",
                        slots_names[e], slot[i], Place(i, slots.sizes().vec()), rows - 1));
      }
      if (slot[i] == -1 && (id[i] < 0 || id[i] >= info.vocabulary)) {
        return InvalidArgument(fmt::format(
            "tensor '{}' has {} at {}, where '{}' is -1; the vocabulary has 0 to {}", ids_names[e],
            id[i], Place(i, ids.sizes().vec()), slots_names[e], info.vocabulary - 1));
      }
      const size_t positions = static_cast<size_t>(info.text_positions);
      ended = (ended && i % positions != 0) || (slot[i] == -1 && id[i] == info.end_token);
      if (pooled && !ended && (i + 1) % positions == 0) {
        return InvalidArgument(
            fmt::format("tensor '{}' has no end token {} in the prompt that ends at {}: the pooled "
                        "output is taken there",
                        ids_names[e], info.end_token, Place(i, ids.sizes().vec())));
      }
    }
  }
  return absl::OkStatus();
}

at::Tensor FlatRows(const CaseFile& file, const diffusion::ModelInfo& info) {
  std::vector<at::Tensor> blocks;
  for (const std::string& name : NamesOf("rows", info))
    blocks.push_back(TensorOf(file, name).flatten());
  return at::cat(blocks);
}

std::vector<diffusion::TextInput> TextInputs(const CaseFile& file, const diffusion::ModelInfo& info,
                                             const at::Tensor& flat_rows,
                                             std::optional<int64_t> step) {
  const auto of = [&](const std::string& name) {
    const at::Tensor tensor = TensorOf(file, name);
    return step ? tensor.select(0, *step) : tensor;
  };
  const std::vector<at::Tensor> rows = diffusion::RowBlocks(flat_rows, info.text_widths);
  const std::vector<std::string> ids = NamesOf("input_ids", info), slots = NamesOf("slots", info);
  std::vector<diffusion::TextInput> inputs;
  for (size_t i = 0; i < rows.size(); ++i) inputs.push_back({of(ids[i]), of(slots[i]), rows[i]});
  return inputs;
}

}  // namespace neolog::replay
