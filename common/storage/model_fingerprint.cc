#include "common/storage/model_fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "common/base/hash.h"
#include "common/storage/file_hashes.h"

namespace neolog {
namespace {

constexpr size_t kShortDigits = 10, kOldDigits = 8;
constexpr std::streamoff kOldOffset = 0x100000;
constexpr size_t kOldBytes = 0x10000;

}  // namespace

absl::StatusOr<std::string> ModelFingerprint(const std::vector<ModelFile>& files,
                                             const std::string& cache_file) {
  FileHashes hashes(cache_file);
  std::string summary;
  for (const ModelFile& file : files) {
    ASSIGN_OR_RETURN(const std::string digest, hashes.Sha256Of(file.path));
    summary += file.name + '\0' + digest + '\n';
  }
  return Sha256Hex(summary);
}

absl::StatusOr<ModelHashes> HashesAsA1111(const std::string& path, const std::string& cache_file) {
  FileHashes hashes(cache_file);
  ModelHashes result;
  ASSIGN_OR_RETURN(result.sha256, hashes.Sha256Of(path));
  result.short_hash = result.sha256.substr(0, kShortDigits);
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound(fmt::format("'{}' cannot be read", path));
  std::string part(kOldBytes, '\0');
  file.seekg(kOldOffset);
  file.read(part.data(), static_cast<std::streamsize>(part.size()));
  part.resize(static_cast<size_t>(std::max<std::streamsize>(0, file.gcount())));
  if (file.bad()) return DataLoss(fmt::format("reading '{}' failed", path));
  result.old_hash = Sha256Hex(part).substr(0, kOldDigits);
  return result;
}

}  // namespace neolog
