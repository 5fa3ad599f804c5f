#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
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

/// InvalidArgument unless every slot of `prefix` tensors is in [-1, K) and every id under slot -1
/// in the vocabulary; names the tensor and the place. Shapes have been checked.
absl::Status CheckTokens(const CaseFile& file, int64_t rows, int64_t vocabulary);

}  // namespace neolog::replay
