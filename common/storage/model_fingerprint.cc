#include "common/storage/model_fingerprint.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
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

std::vector<std::string> ModelFiles(const std::string& folder) {
  std::vector<std::string> files = {"model_index.json"};
  std::error_code error;
  for (const char* part : {"scheduler", "text_encoder", "tokenizer", "unet", "vae"}) {
    for (const auto& entry : fs::directory_iterator(fs::path(folder) / part, error)) {
      const auto extension = entry.path().extension();
      if (extension == ".json" || extension == ".txt" || extension == ".safetensors") {
        files.push_back(part + ("/" + entry.path().filename().string()));
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<std::string> ModelFingerprint(const std::string& folder,
                                             const std::vector<std::string>& files,
                                             const std::string& cache_file) {
  Json cache;
  {
    std::ifstream file(cache_file);
    if (file) cache = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  }
  if (!cache.is_object()) cache = Json::object();
  bool changed = false;
  std::string summary;
  for (const std::string& name : files) {
    std::error_code error;
    const std::string path = (fs::canonical(folder, error) / name).string();
    struct stat info = {};
    if (error || stat(path.c_str(), &info) != 0)
      return NotFound(fmt::format("'{}/{}' cannot be read", folder, name));
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
    summary += name + '\0' + digest + '\n';
  }
  // A cache that cannot be written costs time the next time, nothing else.
  if (changed && !cache_file.empty())
    WriteFileDurably(*MakePosixFileSystem(), cache_file, cache.dump()).IgnoreError();
  return Sha256Hex(summary);
}

}  // namespace neolog
