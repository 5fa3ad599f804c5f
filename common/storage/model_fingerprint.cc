#include "common/storage/model_fingerprint.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "common/base/hash.h"
#include "common/storage/durable_write.h"
#include "common/storage/posix_file_system.h"

namespace neolog {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

absl::StatusOr<std::string> HashFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound(fmt::format("'{}' cannot be read", path));
  Sha256 hash;
  std::string buffer(1 << 20, '\0');
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) ||
         file.gcount() > 0) {
    hash.Update(std::string_view(buffer.data(), static_cast<size_t>(file.gcount())));
  }
  if (file.bad()) return DataLoss(fmt::format("reading '{}' failed", path));
  return hash.HexDigest();
}

}  // namespace

absl::StatusOr<std::string> ModelFingerprint(const std::vector<ModelFile>& files,
                                             const std::string& cache_file) {
  Json cache;
  {
    std::ifstream file(cache_file);
    if (file) cache = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  }
  if (!cache.is_object()) cache = Json::object();
  bool changed = false;
  std::string summary;
  for (const ModelFile& file : files) {
    std::error_code error;
    const std::string path = fs::canonical(file.path, error).string();
    struct stat info = {};
    if (error || stat(path.c_str(), &info) != 0)
      return NotFound(fmt::format("'{}' cannot be read", file.path));
    const Json key = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    const auto known = cache.find(path);
    std::string digest;
    if (known != cache.end() && known->is_object() && known->value("key", Json()) == key) {
      digest = known->value("sha256", "");
    }
    if (digest.size() != 64) {
      ASSIGN_OR_RETURN(digest, HashFile(path));
      cache[path] = Json{{"key", key}, {"sha256", digest}};
      changed = true;
    }
    summary += file.name + '\0' + digest + '\n';
  }
  // A cache that cannot be written costs time the next time, nothing else.
  if (changed && !cache_file.empty())
    WriteFileDurably(*MakePosixFileSystem(), cache_file, cache.dump()).IgnoreError();
  return Sha256Hex(summary);
}

}  // namespace neolog
