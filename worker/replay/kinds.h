#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/diffusion/model.h"
#include "worker/replay/case_file.h"

namespace neolog::replay {

/// What a case yields: contiguous CPU tensors, floating ones float32, integers int64.
using Result = std::map<std::string, at::Tensor>;

/// One kind of case, its settings read and found right.
class Kind {
 public:
  virtual ~Kind() = default;
  /// Checks the tensors against the model and computes. InvalidArgument for tensors that do not
  /// fit; CallTorch's codes for what libtorch refuses.
  virtual absl::StatusOr<Result> Run(const diffusion::Model& model) const = 0;
};

/// What a kind needs beside the model's sizes.
struct KindContext {
  /// The case; it outlives the kind.
  const CaseFile* file = nullptr;
  diffusion::Precision precision = diffusion::Precision::kFloat32;
};

/// InvalidArgument, before any model is loaded, for an unknown kind and for every wrong setting.
absl::StatusOr<std::unique_ptr<Kind>> MakeKind(const KindContext& context);

/// Each kind of the contract.
absl::StatusOr<std::unique_ptr<Kind>> MakeTrainKind(const KindContext& context);
absl::StatusOr<std::unique_ptr<Kind>> MakeVaeEncodeKind(const KindContext& context);
absl::StatusOr<std::unique_ptr<Kind>> MakeVaeDecodeKind(const KindContext& context);
absl::StatusOr<std::unique_ptr<Kind>> MakeSampleKind(const KindContext& context);

/// A case's tensor over the mapped file; undefined when it is not there.
at::Tensor TensorOf(const CaseFile& file, const std::string& name);

/// The names that a tensor of each text encoder has: "rows" and, for SDXL, "rows_2".
std::vector<std::string> NamesOf(const std::string& name, const diffusion::ModelInfo& info);

/// What the text tensors of a case must be: input_ids and slots of every encoder with the leading
/// sizes `lead` ("S,B"), rows, and time_ids where the model has size conditioning.
std::vector<TensorRule> TextRules(const std::string& lead, const diffusion::ModelInfo& info);
/// The sizes those rules speak of.
Sizes TextSizes(const diffusion::ModelInfo& info);

/// InvalidArgument unless every slot is in [-1, K), every id under slot -1 in the vocabulary, and
/// every prompt has an end token where a pooled output is taken from it; names the tensor and the
/// place. Shapes have been checked.
absl::Status CheckTokens(const CaseFile& file, int64_t rows, const diffusion::ModelInfo& info);

/// The rows of every encoder as one run of floats (RowBlocks), and what the encoders read of it:
/// ids and slots as in the case or, with `step`, of that micro-step.
at::Tensor FlatRows(const CaseFile& file, const diffusion::ModelInfo& info);
std::vector<diffusion::TextInput> TextInputs(const CaseFile& file, const diffusion::ModelInfo& info,
                                             const at::Tensor& flat_rows,
                                             std::optional<int64_t> step);

}  // namespace neolog::replay
