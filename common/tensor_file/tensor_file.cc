#include "common/tensor_file/tensor_file.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "common/tensor_file/mapping.h"
#include "common/tensor_file/safetensors.h"
#include "common/tensor_file/torch_file.h"

namespace neolog {
namespace {

// What people have under a name of weights that is none.
struct Impostor {
  std::string_view begins;
  std::string_view is;
};
constexpr Impostor kImpostors[] = {
    {"version https://git-lfs",
     "a pointer of Git LFS, not the file itself: fetch it (git lfs pull)"},
    {"<!DOCTYPE", "a web page: the download failed, or wants a log-in first"},
    {"<!doctype", "a web page: the download failed, or wants a log-in first"},
    {"<html", "a web page: the download failed, or wants a log-in first"},
    {"\x89PNG", "a picture"},
    {"\xff\xd8\xff", "a picture"},
    {"GGUF", "a GGUF file: expected safetensors or a checkpoint of torch"},
    {"\x1f\x8b", "a gzip archive: unpack it first"},
    {"7z\xbc\xaf", "a 7z archive: unpack it first"},
    {"Rar!", "a RAR archive: unpack it first"},
};

// A header's length that fits into the file, and the header's first brace.
bool BeginsAsSafetensors(std::string_view bytes) {
  uint64_t length = 0;
  if (bytes.size() <= sizeof(length) || bytes[sizeof(length)] != '{') return false;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return length <= bytes.size() - sizeof(length);
}

absl::StatusOr<std::unique_ptr<TensorFile>> ParseAny(std::string_view bytes, std::string_view name,
                                                     TorchFile::Checks checks,
                                                     std::shared_ptr<const void> owner) {
  if (bytes.empty()) return InvalidArgument("the file is empty");
  // First of all: the length that a safetensors file begins with may look like the others' signs.
  if (BeginsAsSafetensors(bytes)) return nullptr;
  if (TorchFile::IsOne(bytes)) return OpenStateDict(bytes, checks, std::move(owner));
  for (const Impostor& impostor : kImpostors) {
    if (bytes.starts_with(impostor.begins))
      return InvalidArgument(fmt::format("it is {}", impostor.is));
  }
  if (bytes.starts_with("\x80")) {
    return InvalidArgument(
        "it is a pickle that torch.save did not write: expected safetensors or a checkpoint of "
        "torch");
  }
  if (bytes.size() > 8 && bytes[8] != '{' && !name.ends_with(".safetensors")) {
    return InvalidArgument(
        "it is neither a safetensors file nor one of torch.save: not a file of weights, or a "
        "damaged one");
  }
  return nullptr;  // safetensors, or what wants to be
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorFile>> TensorFile::Open(const std::string& path) {
  const auto mapping = std::make_shared<Mapping>();
  RETURN_IF_ERROR(mapping->Map(path));
  // A checkpoint of gigabytes is not read whole only to check its archive's checksums.
  ASSIGN_OR_RETURN_WITH(std::unique_ptr<TensorFile> file,
                        ParseAny(mapping->bytes(), path, TorchFile::Checks::kNoChecksums, mapping),
                        fmt::format("reading '{}'", path));
  if (file != nullptr) return file;
  ASSIGN_OR_RETURN(file, SafetensorsFile::Open(path));
  return file;
}

absl::StatusOr<std::unique_ptr<TensorFile>> TensorFile::Parse(std::string_view bytes,
                                                              std::string_view name) {
  ASSIGN_OR_RETURN_WITH(std::unique_ptr<TensorFile> file,
                        ParseAny(bytes, name, TorchFile::Checks::kAll, nullptr),
                        fmt::format("reading '{}'", name));
  if (file != nullptr) return file;
  ASSIGN_OR_RETURN(file, SafetensorsFile::Parse(bytes, name));
  return file;
}

}  // namespace neolog
