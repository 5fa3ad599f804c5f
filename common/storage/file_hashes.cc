#include "common/storage/file_hashes.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

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

FileHashes::FileHashes(std::string cache_file)
    : cache_file_(std::move(cache_file)), cache_(std::make_unique<Json>()) {
  std::ifstream file(cache_file_);
  if (file) *cache_ = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!cache_->is_object()) *cache_ = Json::object();
}

FileHashes::~FileHashes() {
  // A cache that cannot be written costs time the next time, nothing else.
  if (changed_ && !cache_file_.empty())
    WriteFileDurably(*MakePosixFileSystem(), cache_file_, cache_->dump()).IgnoreError();
}

absl::StatusOr<std::string> FileHashes::Sha256Of(const std::string& path) {
  std::error_code error;
  const std::string real = fs::canonical(path, error).string();
  struct stat info = {};
  if (error || stat(real.c_str(), &info) != 0)
    return NotFound(fmt::format("'{}' cannot be read", path));
  const Json key = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
  const auto known = cache_->find(real);
  if (known != cache_->end() && known->is_object() && known->value("key", Json()) == key) {
    const std::string digest = known->value("sha256", "");
    if (digest.size() == 64) return digest;
  }
  ASSIGN_OR_RETURN(const std::string digest, HashFile(real));
  (*cache_)[real] = Json{{"key", key}, {"sha256", digest}};
  changed_ = true;
  return digest;
}

}  // namespace neolog
