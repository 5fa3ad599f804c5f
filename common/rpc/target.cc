#include "common/rpc/target.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <charconv>

namespace neolog {
namespace {

constexpr size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;

absl::Status Malformed(std::string_view text, std::string_view why) {
  return InvalidArgument(
      fmt::format("'{}' is not an address: {}; write unix:/path/to.sock or host:port, for example "
                  "127.0.0.1:7400",
                  text, why));
}

}  // namespace

std::string Target::ToString() const {
  if (is_unix()) return "unix:" + path;
  if (host.find(':') != std::string::npos) return fmt::format("[{}]:{}", host, port);
  return fmt::format("{}:{}", host, port);
}

absl::StatusOr<Target> ParseTarget(std::string_view text) {
  Target target;
  if (text.starts_with("unix:")) {
    std::string_view path = text.substr(5);
    if (path.starts_with("//")) path.remove_prefix(2);
    if (path.empty()) return Malformed(text, "the socket's path is missing");
    if (path.size() > kMaxSocketPath) {
      return InvalidArgument(
          fmt::format("the socket path '{}' has {} bytes and the system allows {}: use a shorter "
                      "folder (--state-dir)",
                      path, path.size(), kMaxSocketPath));
    }
    target.path = path;
    return target;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Malformed(text, "the port is missing");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return Malformed(text, "the ']' of the IPv6 address is missing");
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return Malformed(text, "an IPv6 address stands in brackets");
  }
  if (host.empty()) return Malformed(text, "the host is missing");
  if (host.find('/') != std::string_view::npos) {
    return Malformed(text, "'/' cannot be part of a host");
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), target.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) {
    return Malformed(text, "the port is not a number from 0 to 65535");
  }
  target.host = host;
  return target;
}

bool IsLoopback(const Target& target) {
  if (target.is_unix() || target.host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, target.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, target.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace neolog
