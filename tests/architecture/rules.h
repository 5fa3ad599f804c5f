#pragma once

#include <map>
#include <string>
#include <vector>

namespace neolog::architecture {

/// Paths relative to the source tree -> contents.
using Tree = std::map<std::string, std::string>;

/// Everything in the tree that breaks a rule, each as "path[:line]: what and why", in the order of
/// the paths:
///   - `common` includes nothing of `coordinator` or `worker`; these two include nothing of each
///   other; nothing outside
///     `tests` includes `tests`; the coordinator (the CLI excepted) includes nothing of
///     `common/image`;
///   - torch only under worker/{torch_support,diffusion,dataset,train,generate,replay};
///   - gRPC only in files named *_grpc.* and under common/rpc;
///   - NCCL and CUDA only under worker/collective/nccl and worker/torch_support/cuda;
///   - Boost.Beast and Asio only under coordinator/http;
///   - folders do not include each other in a circle;
///   - every source, test and fuzz target is named in a CMakeLists.txt;
///   - every folder with sources has a README.md (the folders that mirror the tree under tests/
///   excepted);
///   - headers have #pragma once; no file of code has more than 600 lines, or a note that something
///   is still to do.
/// Files under tests/ may include anything.
std::vector<std::string> FindViolations(const Tree& tree);

}  // namespace neolog::architecture
