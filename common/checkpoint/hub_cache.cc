#include "common/checkpoint/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "common/checkpoint/part_files.h"

namespace neolog {
namespace {

namespace fs = std::filesystem;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsNamePart(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

std::string HubCacheFolder() {
  if (const std::string cache = Environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = Environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string xdg = Environment("XDG_CACHE_HOME"); !xdg.empty())
    return xdg + "/huggingface/hub";
  if (const std::string home = Environment("HOME"); !home.empty())
    return home + "/.cache/huggingface/hub";
  return "";
}

bool IsHubName(const std::string& text) {
  const size_t slash = text.find('/');
  return slash != std::string::npos && IsNamePart(std::string_view(text).substr(0, slash)) &&
         IsNamePart(std::string_view(text).substr(slash + 1));
}

absl::StatusOr<std::string> FindInHubCache(const std::string& name, const std::string& cache) {
  const std::string advice = fmt::format(
      "'{}' is no file or folder here. If it is a model on the hub, download it first "
      "(hf download {}), or give the path of a model",
      name, name);
  const size_t slash = name.find('/');
  const fs::path model = fs::path(cache) / fmt::format("models--{}--{}", name.substr(0, slash),
                                                       name.substr(slash + 1));
  std::error_code error;
  if (cache.empty() || !fs::is_directory(model, error)) {
    return NotFound(fmt::format("{} (looked in the hub's cache '{}')", advice, cache));
  }
  auto ref = ReadSmallFile((model / "refs" / "main").string());
  if (!ref.ok()) return NotFound(fmt::format("{} ({})", advice, ToStd(ref.status().message())));
  while (!ref->empty() && std::isspace(static_cast<unsigned char>(ref->back())) != 0)
    ref->pop_back();
  const fs::path snapshot = model / "snapshots" / *ref;
  if (!IsNamePart(*ref) || !fs::is_directory(snapshot, error)) {
    return NotFound(fmt::format("{} ('{}' names the snapshot '{}', which is not there)", advice,
                                (model / "refs" / "main").string(), *ref));
  }
  return snapshot.string();
}

}  // namespace neolog
