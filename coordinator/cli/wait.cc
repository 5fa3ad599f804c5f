#include "coordinator/cli/wait.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

namespace neolog::cli {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookAnyway(1000);

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace

bool WaitForFile(const std::string& path, absl::Duration timeout) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const auto deadline = steady_clock::now() + absl::ToChronoMilliseconds(timeout);
  // Watched before the first look: nothing that happens in between is missed.
  const int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0)
    inotify_add_watch(fd, folder.c_str(), IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF);
  bool found = false;
  while (!(found = Exists(path)) && Exists(folder)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) break;
    pollfd woken = {fd, POLLIN, 0};  // a descriptor of -1 only waits
    poll(&woken, 1, static_cast<int>(std::min(left, kLookAnyway).count()));
    char events[4096];
    while (fd >= 0 && read(fd, events, sizeof(events)) > 0) {
    }
  }
  if (fd >= 0) close(fd);
  return found;
}

bool PollUntil(const std::function<bool()>& done, absl::Duration pause, absl::Duration timeout) {
  const auto deadline = steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  while (!done()) {
    if (steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(pause));
  }
  return true;
}

}  // namespace neolog::cli
