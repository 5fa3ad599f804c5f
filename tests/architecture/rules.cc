#include "tests/architecture/rules.h"

#include <algorithm>
#include <functional>
#include <set>
#include <sstream>
#include <string_view>

#include "fmt/format.h"

namespace neolog::architecture {
namespace {

constexpr int kMaxLines = 600;

bool StartsWithAny(std::string_view text, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

bool EndsWithAny(std::string_view text, std::initializer_list<std::string_view> suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](std::string_view suffix) { return text.ends_with(suffix); });
}

std::string FolderOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? "" : std::string(path.substr(0, slash));
}

std::string_view NameOf(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool IsOurs(std::string_view path) {
  return StartsWithAny(path, {"common/", "coordinator/", "worker/"});
}
bool IsCpp(std::string_view path) { return EndsWithAny(path, {".h", ".cc", ".cu"}); }
bool IsCode(std::string_view path) {
  return IsCpp(path) || EndsWithAny(path, {".py", ".sh", ".proto", ".cmake"}) ||
         NameOf(path) == "CMakeLists.txt";
}

struct Line {
  int number;
  std::string text;
};

std::vector<Line> LinesOf(const std::string& content) {
  std::vector<Line> lines;
  std::istringstream in(content);
  for (std::string line; std::getline(in, line);)
    lines.push_back({static_cast<int>(lines.size()) + 1, line});
  return lines;
}

/// The header that a line includes; empty when it includes none.
std::string IncludedHeader(const std::string& line) {
  const size_t hash = line.find_first_not_of(" \t");
  if (hash == std::string::npos || line[hash] != '#') return "";
  const size_t word = line.find_first_not_of(" \t", hash + 1);
  if (word == std::string::npos || line.compare(word, 7, "include") != 0) return "";
  const size_t open = line.find_first_of("<\"", word + 7);
  if (open == std::string::npos) return "";
  const size_t close = line.find(line[open] == '<' ? '>' : '"', open + 1);
  return close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

/// A library that only some files may include.
struct Library {
  const char* name;
  const char* where;
  bool (*is_header)(std::string_view header);
  bool (*may_include)(std::string_view path);
};

constexpr Library kLibraries[] = {
    {"NCCL and CUDA", "worker/collective/nccl and worker/torch_support/cuda",
     [](std::string_view h) {
       return StartsWithAny(h, {"nccl", "cuda.h", "cuda_", "cuda/", "cublas", "cudnn", "nvml",
                                "ATen/cuda/", "c10/cuda/"});
     },
     [](std::string_view p) {
       return StartsWithAny(p, {"worker/collective/nccl/", "worker/torch_support/cuda/"});
     }},
    {"torch", "worker/{torch_support,diffusion,dataset,train,generate,replay}",
     [](std::string_view h) {
       return StartsWithAny(h, {"torch/", "ATen/", "c10/"});
     },
     [](std::string_view p) {
       return StartsWithAny(p, {"worker/torch_support/", "worker/diffusion/", "worker/dataset/",
                                "worker/train/", "worker/generate/", "worker/replay/"});
     }},
    {"gRPC", "files named *_grpc.* and common/rpc",
     [](std::string_view h) {
       return StartsWithAny(h, {"grpc/", "grpcpp/", "grpc++/"}) || h.ends_with(".grpc.pb.h");
     },
     [](std::string_view p) {
       return p.starts_with("common/rpc/") || NameOf(p).find("_grpc.") != std::string_view::npos;
     }},
    {"Boost's HTTP", "coordinator/http",
     [](std::string_view h) {
       return StartsWithAny(h, {"boost/beast", "boost/asio"});
     },
     [](std::string_view p) { return p.starts_with("coordinator/http/"); }},
};

/// Why `path` may not include our own `header`; empty when it may.
std::string ForbiddenNeighbour(std::string_view path, std::string_view header) {
  if (header.starts_with("tests/")) return "programs do not include their tests";
  if (path.starts_with("common/") && StartsWithAny(header, {"coordinator/", "worker/"})) {
    return "common is below coordinator and worker";
  }
  if ((path.starts_with("coordinator/") && header.starts_with("worker/")) ||
      (path.starts_with("worker/") && header.starts_with("coordinator/"))) {
    return "coordinator and worker meet only in proto";
  }
  if (path.starts_with("coordinator/") && !path.starts_with("coordinator/cli/") &&
      header.starts_with("common/image/")) {
    return "the coordinator opens no pictures";
  }
  return "";
}

void CheckIncludes(const std::string& path, const std::string& content,
                   std::vector<std::string>* violations) {
  for (const Line& line : LinesOf(content)) {
    const std::string header = IncludedHeader(line.text);
    if (header.empty()) continue;
    if (const std::string why = ForbiddenNeighbour(path, header); !why.empty()) {
      violations->push_back(fmt::format("{}:{}: includes {}: {}", path, line.number, header, why));
    }
    for (const Library& library : kLibraries) {
      if (!library.is_header(header)) continue;
      if (!library.may_include(path)) {
        violations->push_back(fmt::format("{}:{}: includes {}: {} only in {}", path, line.number,
                                          header, library.name, library.where));
      }
      break;  // CUDA's parts of torch are CUDA
    }
  }
}

/// Folder -> the folders of ours that it includes.
std::map<std::string, std::set<std::string>> FolderGraph(const Tree& tree) {
  std::map<std::string, std::set<std::string>> graph;
  for (const auto& [path, content] : tree) {
    if (!IsOurs(path) || !IsCpp(path)) continue;
    for (const Line& line : LinesOf(content)) {
      const std::string header = IncludedHeader(line.text);
      if (IsOurs(header) && FolderOf(header) != FolderOf(path))
        graph[FolderOf(path)].insert(FolderOf(header));
    }
  }
  return graph;
}

void CheckCircles(const Tree& tree, std::vector<std::string>* violations) {
  const auto graph = FolderGraph(tree);
  std::set<std::string> done;
  std::vector<std::string> path;
  const std::function<void(const std::string&)> visit = [&](const std::string& folder) {
    if (done.count(folder) > 0) return;
    if (const auto on_path = std::find(path.begin(), path.end(), folder); on_path != path.end()) {
      violations->push_back(fmt::format("{}: folders include each other in a circle: {} -> {}",
                                        folder, fmt::join(on_path, path.end(), " -> "), folder));
      return;
    }
    path.push_back(folder);
    if (const auto next = graph.find(folder); next != graph.end()) {
      for (const std::string& other : next->second) visit(other);
    }
    path.pop_back();
    done.insert(folder);
  };
  for (const auto& [folder, others] : graph) visit(folder);
}

/// True when `name` stands as a word of its own in the CMakeLists.
bool Names(const std::string& cmake, std::string_view name) {
  static constexpr std::string_view kBefore = " \t\n(\"";
  static constexpr std::string_view kAfter = " \t\n)\"";
  for (size_t at = cmake.find(name); at != std::string::npos; at = cmake.find(name, at + 1)) {
    const size_t end = at + name.size();
    if (at > 0 && kBefore.find(cmake[at - 1]) != std::string_view::npos && end < cmake.size() &&
        kAfter.find(cmake[end]) != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

/// True when a CMakeLists in the file's folder, or one above it, names the file relative to itself,
/// or a helper in cmake/ adds it to targets.
bool IsBuilt(const Tree& tree, const std::string& path) {
  for (auto it = tree.lower_bound("cmake/"); it != tree.end() && it->first.starts_with("cmake/");
       ++it) {
    if (it->second.find("}/" + path) != std::string::npos) return true;
  }
  for (std::string folder = FolderOf(path);; folder = FolderOf(folder)) {
    const std::string cmake = folder.empty() ? "CMakeLists.txt" : folder + "/CMakeLists.txt";
    const std::string name = folder.empty() ? path : path.substr(folder.size() + 1);
    if (const auto found = tree.find(cmake); found != tree.end() && Names(found->second, name))
      return true;
    if (folder.empty()) return false;
  }
}

bool NeedsReadme(const std::string& folder) {
  // Mirrors of the tree say nothing that the mirrored folder does not; a corpus is data.
  return !StartsWithAny(folder + "/", {"tests/common/", "tests/coordinator/", "tests/worker/",
                                       "tests/fuzz/corpus/", "proto/neolog/"}) &&
         !folder.empty();
}

void CheckReadmes(const Tree& tree, std::vector<std::string>* violations) {
  std::set<std::string> folders;
  for (const auto& [path, content] : tree) {
    const bool source = IsCode(path) && NameOf(path) != "CMakeLists.txt";
    if ((source || path.ends_with(".yaml")) && NeedsReadme(FolderOf(path)))
      folders.insert(FolderOf(path));
  }
  for (const std::string& folder : folders) {
    if (tree.count(folder + "/README.md") == 0) {
      violations->push_back(fmt::format(
          "{}: no README.md: say what it is, what it may include and where to start", folder));
    }
  }
}

void CheckText(const std::string& path, const std::string& content,
               std::vector<std::string>* violations) {
  const std::vector<Line> lines = LinesOf(content);
  if (lines.size() > kMaxLines) {
    violations->push_back(
        fmt::format("{}: {} lines, more than {}: split it", path, lines.size(), kMaxLines));
  }
  if (path.ends_with(".h") && content.find("#pragma once") == std::string::npos) {
    violations->push_back(fmt::format("{}: no #pragma once", path));
  }
  // In two parts, so that this file does not hold the words.
  for (const std::string& word : {std::string("TO") + "DO", std::string("FIX") + "ME"}) {
    for (const Line& line : lines) {
      if (line.text.find(word) != std::string::npos) {
        violations->push_back(
            fmt::format("{}:{}: {}: do it, or open an issue", path, line.number, word));
      }
    }
  }
}

}  // namespace

std::vector<std::string> FindViolations(const Tree& tree) {
  std::vector<std::string> violations;
  for (const auto& [path, content] : tree) {
    if (IsOurs(path) && IsCpp(path)) CheckIncludes(path, content, &violations);
    if (IsCode(path)) CheckText(path, content, &violations);
    const bool must_be_built =
        EndsWithAny(path, {".cc", ".cu"}) && (IsOurs(path) || path.starts_with("tests/"));
    if (must_be_built && !IsBuilt(tree, path)) {
      violations.push_back(
          fmt::format("{}: named in no CMakeLists.txt, so nobody builds it", path));
    }
  }
  CheckCircles(tree, &violations);
  CheckReadmes(tree, &violations);
  return violations;
}

}  // namespace neolog::architecture
