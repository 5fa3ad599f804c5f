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

Json ReadCache(const std::string& cache_file) {
  std::ifstream file(cache_file);
  Json cache;
  if (file) cache = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  return cache.is_object() ? cache : Json::object();
}

/// The digest that `cache` has for `path` in the state `key`; empty when it has none.
std::string Known(const Json& cache, const std::string& path, const Json& key) {
  const auto entry = cache.find(path);
  if (entry == cache.end() || !entry->is_object() || entry->value("key", Json()) != key) return "";
  const auto digest = entry->find("sha256");
  if (digest == entry->end() || !digest->is_string()) return "";
  return digest->get_ref<const std::string&>().size() == 64 ? digest->get<std::string>() : "";
}

}  // namespace

FileHashes::FileHashes(std::string cache_file)
    : cache_file_(std::move(cache_file)),
      cache_(std::make_unique<Json>(ReadCache(cache_file_))),
      found_(std::make_unique<Json>(Json::object())) {}

FileHashes::~FileHashes() {
  if (found_->empty() || cache_file_.empty()) return;
  // Hashing takes minutes, in which another process may have written: its entries stay.
  Json cache = ReadCache(cache_file_);
  cache.update(*found_);
  // Paths are bytes, JSON is UTF-8: a path that is not is hashed again the next time. A cache that
  // cannot be written costs time the next time, nothing else.
  const std::string text = cache.dump(-1, ' ', false, Json::error_handler_t::replace);
  WriteFileDurably(*MakePosixFileSystem(), cache_file_, text).IgnoreError();
}

absl::StatusOr<std::string> FileHashes::Sha256Of(const std::string& path) {
  std::error_code error;
  const std::string real = fs::canonical(path, error).string();
  struct stat info = {};
  if (error || stat(real.c_str(), &info) != 0)
    return NotFound(fmt::format("'{}' cannot be read", path));
  const Json key = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
  for (const Json* cache : {found_.get(), cache_.get()}) {
    if (std::string known = Known(*cache, real, key); !known.empty()) return known;
  }
  ASSIGN_OR_RETURN(const std::string digest, HashFile(real));
  (*found_)[real] = Json{{"key", key}, {"sha256", digest}};
  return digest;
}

}  // namespace neolog
