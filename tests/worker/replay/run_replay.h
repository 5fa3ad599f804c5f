#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace neolog::testing {

/// What the command did.
struct Replayed {
  int code = 0;
  std::string errors;                         // standard error
  std::map<std::string, at::Tensor> tensors;  // of the result; empty when there is none
  bool wrote = false;
};

/// Runs `neolog-worker replay` in this process on the case at `in`, on testing::TestDevice(), the
/// result in a folder of its own.
Replayed RunReplay(const std::string& model, const std::string& in,
                   const std::vector<std::string>& more = {});

/// The tensors of a safetensors file, copied.
std::map<std::string, at::Tensor> ReadTensors(const std::string& path);

/// A case to change: the JSON text and the tensors.
struct Case {
  std::string metadata_key = "neolog.replay";
  std::string json;
  std::map<std::string, at::Tensor> tensors;
};
Case ReadCase(const std::string& path);
void WriteCase(const Case& value, const std::string& path);

/// Root mean square of the difference as a part of that of the expected tensor: in 16 bits the
/// largest difference alone is luck.
double RootMeanSquareError(const at::Tensor& got, const at::Tensor& expected);

}  // namespace neolog::testing
