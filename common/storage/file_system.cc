#include "common/storage/file_system.h"

namespace neolog {

bool FileSystem::Exists(std::string_view path) {
  return Stat(path).status().code() != absl::StatusCode::kNotFound;
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty() && path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string DirectoryOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  if (slash == 0) return "/";
  return std::string(path.substr(0, slash));
}

}  // namespace neolog
