#include "coordinator/grpc/listen.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

namespace neolog::coordinator {
namespace {

/// Closes at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// The process that listens on a Unix socket; 0 when it cannot be told, nothing when nobody does.
std::optional<pid_t> ListenerOf(const std::string& path) {
  const Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    // EAGAIN: its queue is full, so somebody listens.
    return errno == EAGAIN ? std::optional<pid_t>(0) : std::nullopt;
  }
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return 0;
  return peer.pid;
}

absl::Status InUse(const std::string& what, std::optional<pid_t> pid) {
  const std::string by =
      pid.value_or(0) > 0 ? fmt::format("process {}", *pid) : std::string("another process");
  return AlreadyExists(fmt::format(
      "{} is in use by {}: stop that one, or choose another address with --listen", what, by));
}

}  // namespace

absl::Status PrepareListening(const Target& target) {
  if (!target.is_unix()) return absl::OkStatus();
  const std::string folder = FolderOf(target.path);
  if (::mkdir(folder.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return Unavailable(fmt::format("cannot make the folder '{}' for the socket: {}", folder,
                                   std::strerror(errno)));
  }
  struct stat info;
  if (::stat(folder.c_str(), &info) != 0) {
    return Unavailable(
        fmt::format("cannot look at the folder '{}': {}", folder, std::strerror(errno)));
  }
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return FailedPrecondition(
        fmt::format("will not listen on '{}': its folder is open to other users (mode {:04o}), and "
                    "who reaches the socket may steer the cluster; use a folder of mode 0700",
                    target.path, info.st_mode & 07777));
  }
  if (::lstat(target.path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return AlreadyExists(fmt::format(
        "'{}' is in the way: it is no socket; choose another address with --listen", target.path));
  }
  if (const auto pid = ListenerOf(target.path))
    return InUse(fmt::format("the socket '{}'", target.path), pid);
  if (::unlink(target.path.c_str()) != 0 && errno != ENOENT) {
    return Unavailable(fmt::format("cannot remove the socket '{}' of a dead process: {}",
                                   target.path, std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::Status WhyNotBound(const Target& target) {
  const std::string what = target.ToString();
  if (target.is_unix()) {
    if (const auto pid = ListenerOf(target.path))
      return InUse(fmt::format("the socket '{}'", target.path), pid);
    return Unavailable(fmt::format("cannot listen on {}", what));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error =
          ::getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found);
      error != 0) {
    return Unavailable(fmt::format("cannot listen on {}: {}", what, ::gai_strerror(error)));
  }
  const Descriptor fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int bound = ::bind(fd.get(), found->ai_addr, found->ai_addrlen);
  const int error = errno;
  ::freeaddrinfo(found);
  if (bound != 0 && error == EADDRINUSE)
    return InUse(fmt::format("the address {}", what), std::nullopt);
  return Unavailable(
      fmt::format("cannot listen on {}: {}", what,
                  bound == 0 ? "the server could not be started" : std::strerror(error)));
}

}  // namespace neolog::coordinator
