#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/weights.h"

namespace neolog {

/// The files that hold one part's weights.
struct PartFiles {
  /// The file, or the index and its shards in order of their names.
  std::vector<std::string> paths;
  /// True when paths[0] is an index ("….index.json"), the others its shards.
  bool sharded = false;
};

/// Chooses the weights of a part in a folder that save_pretrained wrote. `stems` are the names that
/// such files have without ending, the usual one first ("diffusion_pytorch_model", or "model" and
/// "pytorch_model"). The choice, whatever else is there: safetensors before pickles (.bin); one
/// file before an index with shards; no variant before "fp16", "bf16", "fp32", "non_ema", and
/// other variants by name. NotFound names what was expected; DataLoss and InvalidArgument name an
/// index that cannot be read or a shard outside of the folder.
absl::StatusOr<PartFiles> FindPartFiles(const std::string& folder,
                                        const std::vector<std::string>& stems);

/// Opens them. Errors as TensorFile::Open; DataLoss when a key that the index promises is not in
/// its shard.
absl::StatusOr<WeightTable> OpenPartFiles(const PartFiles& files);

/// A text file of at most 16 MB. NotFound, InvalidArgument and DataLoss name it.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace neolog
