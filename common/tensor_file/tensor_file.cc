#include "common/tensor_file/tensor_file.h"

#include "common/tensor_file/safetensors.h"

namespace neolog {

absl::StatusOr<std::unique_ptr<TensorFile>> TensorFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<TensorFile> file, SafetensorsFile::Open(path));
  return file;
}

}  // namespace neolog
