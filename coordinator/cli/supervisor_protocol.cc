#include "coordinator/cli/supervisor_protocol.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

namespace neolog::cli {
namespace {

using Json = nlohmann::json;
using Op = SupervisorRequest::Op;

constexpr size_t kMaxLine = 1 << 20;

const std::map<std::string, Op>& Ops() {
  static const auto* ops = new std::map<std::string, Op>{
      {"info", Op::kInfo}, {"ensure", Op::kEnsure}, {"keep", Op::kKeep}, {"down", Op::kDown}};
  return *ops;
}

absl::StatusOr<Json> ParseObject(std::string_view line) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return InvalidArgument("expected one JSON object a line");
  return json;
}

int MillisecondsUntil(std::chrono::steady_clock::time_point deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
          .count();
  return static_cast<int>(std::max<int64_t>(0, left));
}

}  // namespace

std::string Encode(const SupervisorRequest& request) {
  std::string op;
  for (const auto& [name, value] : Ops()) {
    if (value == request.op) op = name;
  }
  return Json{{"op", op}, {"devices", request.devices}, {"threads", request.threads}}.dump();
}

std::string Encode(const SupervisorReply& reply) {
  Json children = Json::array();
  for (const ChildInfo& child : reply.children) {
    children.push_back({{"name", child.name},
                        {"pid", child.pid},
                        {"threads", child.threads},
                        {"device", child.device},
                        {"restarts", child.restarts},
                        {"last_exit", child.last_exit},
                        {"log", child.log}});
  }
  return Json{
      {"error", reply.error},   {"version", reply.version},     {"pid", reply.pid},
      {"target", reply.target}, {"on_demand", reply.on_demand}, {"children", std::move(children)}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<SupervisorRequest> DecodeRequest(std::string_view line) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(line));
  try {
    SupervisorRequest request;
    const auto op = Ops().find(json.at("op").get<std::string>());
    if (op == Ops().end())
      return InvalidArgument(fmt::format("unknown request '{}'", json.at("op").dump()));
    request.op = op->second;
    request.devices = json.value("devices", std::vector<std::string>());
    request.threads = json.value("threads", 1u);
    return request;
  } catch (const Json::exception& e) {
    return InvalidArgument(
        fmt::format("a request to the supervisor that it does not understand: {}", e.what()));
  }
}

absl::StatusOr<SupervisorReply> DecodeReply(std::string_view line) {
  ASSIGN_OR_RETURN(const Json json, ParseObject(line));
  try {
    SupervisorReply reply;
    reply.error = json.value("error", "");
    reply.version = json.value("version", "");
    reply.pid = json.value("pid", int64_t{0});
    reply.target = json.value("target", "");
    reply.on_demand = json.value("on_demand", false);
    for (const Json& child : json.value("children", Json::array())) {
      reply.children.push_back({child.at("name").get<std::string>(), child.at("pid").get<int64_t>(),
                                child.value("threads", 0u), child.value("device", ""),
                                child.value("restarts", 0u), child.value("last_exit", ""),
                                child.value("log", "")});
    }
    return reply;
  } catch (const Json::exception& e) {
    return InvalidArgument(
        fmt::format("a reply of the supervisor that cannot be read: {}", e.what()));
  }
}

absl::StatusOr<std::unique_ptr<SupervisorConnection>> SupervisorConnection::Connect(
    const std::string& socket_path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument(fmt::format("'{}' is too long for a Unix socket", socket_path));
  }
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::ErrnoToStatus(errno, "making a socket");
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    close(fd);
    if (error == ENOENT || error == ECONNREFUSED) {
      return NotFound(fmt::format("no local cluster runs (nothing listens at '{}')", socket_path));
    }
    return absl::ErrnoToStatus(error, ToAbsl(fmt::format("connecting to '{}'", socket_path)));
  }
  return std::unique_ptr<SupervisorConnection>(new SupervisorConnection(fd));
}

SupervisorConnection::~SupervisorConnection() { close(fd_); }

absl::StatusOr<SupervisorReply> SupervisorConnection::Call(const SupervisorRequest& request,
                                                           absl::Duration timeout) {
  const std::string line = Encode(request) + "\n";
  if (send(fd_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return Unavailable("the local cluster's supervisor went away");
  }
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  for (;;) {
    if (const size_t end = received_.find('\n'); end != std::string::npos) {
      auto reply = DecodeReply(received_.substr(0, end));
      received_.erase(0, end + 1);
      if (reply.ok() && !reply->error.empty()) return Internal(reply->error);
      return reply;
    }
    if (received_.size() > kMaxLine)
      return Internal("the local cluster's supervisor sends nonsense");
    pollfd watched{fd_, POLLIN, 0};
    const int left = MillisecondsUntil(deadline);
    if (left == 0) return Unavailable("the local cluster's supervisor does not answer");
    if (poll(&watched, 1, left) <= 0) continue;
    char buffer[4096];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    if (n > 0) {
      received_.append(buffer, static_cast<size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      return Unavailable("the local cluster's supervisor went away");
    }
  }
}

absl::Status SupervisorConnection::WaitClosed(absl::Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  for (;;) {
    pollfd watched{fd_, POLLIN, 0};
    const int left = MillisecondsUntil(deadline);
    if (left == 0)
      return absl::DeadlineExceededError("the local cluster's supervisor is still there");
    if (poll(&watched, 1, left) <= 0) continue;
    char buffer[4096];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    if (n == 0 || (n < 0 && errno != EINTR)) return absl::OkStatus();
  }
}

}  // namespace neolog::cli
