#include "coordinator/cli/state_dir.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace neolog::cli {
namespace {

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, ToAbsl(fmt::format("making the state folder '{}'", path)));
}

}  // namespace

absl::StatusOr<StateDir> ResolveStateDir(const GetEnv& env) {
  std::string root = env("NEOLOG_STATE_DIR").value_or("");
  if (root.empty()) {
    std::string base = env("XDG_STATE_HOME").value_or("");
    // The XDG specification says that a relative path there is to be ignored.
    if (base.empty() || base[0] != '/') {
      const std::string home = env("HOME").value_or("");
      if (home.empty()) {
        return InvalidArgument(
            "no state folder: set HOME, XDG_STATE_HOME or NEOLOG_STATE_DIR to a folder of yours");
      }
      base = home + "/.local/state";
    }
    root = base + "/neolog";
  }
  std::error_code error;
  root = std::filesystem::absolute(root, error).lexically_normal().string();
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  StateDir dir{root};
  // Workers put sockets of their own, named after their process, into workers/<id>/.
  const size_t longest = dir.WorkerState("w1023").size() + sizeof("/peer-4194304.sock");
  if (longest > sizeof(sockaddr_un::sun_path)) {
    return InvalidArgument(
        fmt::format("the state folder '{}' is too long for Unix sockets, which take {} bytes: set "
                    "NEOLOG_STATE_DIR to a shorter path",
                    root, sizeof(sockaddr_un::sun_path)));
  }
  return dir;
}

absl::Status CheckStateDir(const StateDir& dir) {
  struct stat info = {};
  if (stat(dir.root.c_str(), &info) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::ErrnoToStatus(errno,
                               ToAbsl(fmt::format("looking at the state folder '{}'", dir.root)));
  }
  if (!S_ISDIR(info.st_mode)) {
    return FailedPrecondition(fmt::format(
        "the state folder '{}' is not a folder: remove it or set NEOLOG_STATE_DIR", dir.root));
  }
  if (info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(
        ToAbsl(fmt::format("the state folder '{}' belongs to user {}, not to you ({}): set "
                           "NEOLOG_STATE_DIR to a folder of your own",
                           dir.root, info.st_uid, geteuid())));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        ToAbsl(fmt::format("the state folder '{}' has mode {:04o}: others could talk to your "
                           "cluster; run: chmod 700 '{}'",
                           dir.root, info.st_mode & 07777, dir.root)));
  }
  return absl::OkStatus();
}

absl::Status PrepareStateDir(const StateDir& dir) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(dir.root).parent_path();
  std::filesystem::create_directories(parent, error);
  if (error)
    return absl::ErrnoToStatus(error.value(),
                               ToAbsl(fmt::format("making the folder '{}'", parent.string())));
  RETURN_IF_ERROR(MakeFolder(dir.root));
  RETURN_IF_ERROR(CheckStateDir(dir));
  for (const std::string& path : {dir.LogFolder(), dir.root + "/workers", dir.CoordinatorState()}) {
    RETURN_IF_ERROR(MakeFolder(path));
  }
  return absl::OkStatus();
}

}  // namespace neolog::cli
