#include "coordinator/cli/supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "common/base/log.h"
#include "common/base/version.h"
#include "common/storage/durable_write.h"
#include "common/storage/posix_file_system.h"

namespace neolog::cli {
namespace {

using Json = nlohmann::json;

constexpr absl::Duration kIdleCheckEvery = absl::Seconds(1);
/// A coordinator that cannot be asked for this long does not keep an on-demand cluster alive.
constexpr absl::Duration kUnreachableLimit = absl::Seconds(60);
constexpr off_t kLogLimit = 16 << 20;
constexpr size_t kMaxRequest = 64 << 10;

/// One old log is kept, so that logs of a long-lived cluster stay bounded.
void RotateLog(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && info.st_size > kLogLimit)
    std::rename(path.c_str(), (path + ".1").c_str());
}

}  // namespace

struct Supervisor::Child {
  std::string name;
  std::vector<std::string> argv;
  uint32_t threads = 0;
  std::string device;
  std::string log;
  std::unique_ptr<Subprocess> process;
  SteadyTime started;
  /// When to start it again, while it does not run.
  SteadyTime due;
  absl::Duration backoff;
  uint32_t restarts = 0;
  std::string last_exit;
};

struct Supervisor::Connection {
  explicit Connection(int fd) : fd(fd) {}
  ~Connection() { close(fd); }
  int fd;
  std::string received;
};

Supervisor::Supervisor(Options options, AnyActiveRun any_active_run, Clock* clock)
    : options_(std::move(options)),
      any_active_run_(std::move(any_active_run)),
      clock_(clock),
      on_demand_(options_.on_demand),
      idle_since_(clock->SteadyNow()),
      next_idle_check_(clock->SteadyNow()) {}

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(Options options,
                                                               AnyActiveRun any_active_run,
                                                               Clock* clock) {
  RETURN_IF_ERROR(PrepareStateDir(options.dir));
  auto supervisor = std::unique_ptr<Supervisor>(
      new Supervisor(std::move(options), std::move(any_active_run), clock));
  const StateDir& dir = supervisor->options_.dir;
  ASSIGN_OR_RETURN_WITH(supervisor->lock_, LockFile::Acquire(dir.SupervisorLock()),
                        "a local cluster runs already");
  supervisor->EndStrays();
  RETURN_IF_ERROR(supervisor->Listen());

  auto coordinator = std::make_unique<Child>();
  coordinator->name = "coordinator";
  coordinator->argv = {supervisor->options_.coordinator_program,
                       "--state-dir",
                       dir.CoordinatorState(),
                       "--listen",
                       dir.CoordinatorTarget(),
                       "--log-level",
                       supervisor->options_.log_level};
  coordinator->log = dir.Log("coordinator");
  coordinator->backoff = supervisor->options_.min_backoff;
  supervisor->children_.push_back(std::move(coordinator));
  supervisor->StartDue();
  return supervisor;
}

Supervisor::~Supervisor() {
  StopChildren();
  if (listen_fd_ >= 0) {
    unlink(options_.dir.SupervisorSocket().c_str());
    close(listen_fd_);
  }
}

absl::Status Supervisor::Listen() {
  const std::string path = options_.dir.SupervisorSocket();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return InvalidArgument(fmt::format("'{}' is too long for a Unix socket", path));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  unlink(path.c_str());  // the lock is ours: what lies there is a dead supervisor's
  listen_fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listen_fd_ < 0 ||
      bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listen_fd_, 16) != 0) {
    return absl::ErrnoToStatus(errno, ToAbsl(fmt::format("listening at '{}'", path)));
  }
  return absl::OkStatus();
}

void Supervisor::EndStrays() {
  std::ifstream file(options_.dir.Children());
  const Json children = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!children.is_array()) return;
  for (const Json& child : children) {
    if (!child.is_object()) continue;
    const ProcessId process{child.value("pid", 0), child.value("start_ticks", uint64_t{0})};
    if (process.pid <= 1 || process.start_ticks == 0 || !IsAlive(process)) continue;
    spdlog::warn("ending process {} that a killed supervisor left behind", process.pid);
    SignalProcess(process, SIGKILL).IgnoreError();
  }
}

void Supervisor::WriteChildren() {
  Json children = Json::array();
  for (const auto& child : children_) {
    if (!child->process) continue;
    const auto id = FindProcess(child->process->pid());
    if (id)
      children.push_back(
          {{"name", child->name}, {"pid", id->pid}, {"start_ticks", id->start_ticks}});
  }
  const auto fs = MakePosixFileSystem();
  if (auto written = WriteFileDurably(*fs, options_.dir.Children(), children.dump());
      !written.ok()) {
    spdlog::warn("{}", written.ToString());
  }
}

void Supervisor::Start(Child& child) {
  RotateLog(child.log);
  SpawnOptions spawn;
  spawn.argv = child.argv;
  spawn.stdout_to = OutputTo::File(child.log);
  spawn.stderr_to = OutputTo::File(child.log);
  spawn.new_process_group = true;
  child.started = clock_->SteadyNow();
  auto process = Subprocess::Spawn(spawn);
  if (process.ok()) {
    child.process = *std::move(process);
    spdlog::info("started {} (process {})", child.name, child.process->pid());
    return;
  }
  child.last_exit = std::string(process.status().message());
  child.due = child.started + child.backoff;
  child.backoff = std::min(child.backoff * 2, options_.max_backoff);
  child.restarts += 1;
  spdlog::error("{}: {}", child.name, child.last_exit);
}

void Supervisor::StartDue() {
  bool any = false;
  for (auto& child : children_) {
    if (child->process || child->due > clock_->SteadyNow()) continue;
    Start(*child);
    any = true;
  }
  if (any) WriteChildren();
}

void Supervisor::Reap() {
  const SteadyTime now = clock_->SteadyNow();
  for (auto& child : children_) {
    if (!child->process) continue;
    const auto exit = child->process->Poll();
    if (!exit) continue;
    child->process.reset();
    child->last_exit = exit->ToString();
    child->restarts += 1;
    if (now - child->started >= options_.healthy_after) child->backoff = options_.min_backoff;
    child->due = now + child->backoff;
    spdlog::warn("{} ended with {} after {:.1f} s; starting it again in {:.1f} s", child->name,
                 child->last_exit, absl::ToDoubleSeconds(now - child->started),
                 absl::ToDoubleSeconds(child->backoff));
    child->backoff = std::min(child->backoff * 2, options_.max_backoff);
  }
}

void Supervisor::Accept() {
  for (;;) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    connections_.push_back(std::make_unique<Connection>(fd));
  }
}

bool Supervisor::Serve(Connection& connection) {
  char buffer[4096];
  const ssize_t n = recv(connection.fd, buffer, sizeof(buffer), 0);
  if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return false;
  if (n > 0) connection.received.append(buffer, static_cast<size_t>(n));
  if (connection.received.size() > kMaxRequest) return false;
  for (size_t end; (end = connection.received.find('\n')) != std::string::npos;) {
    const auto request = DecodeRequest(connection.received.substr(0, end));
    connection.received.erase(0, end + 1);
    SupervisorReply reply;
    if (request.ok()) {
      reply = Handle(*request);
    } else {
      reply.error = std::string(request.status().message());
    }
    // Replies are a few hundred bytes: a client that does not read them is cut off.
    const std::string line = Encode(reply) + "\n";
    if (send(connection.fd, line.data(), line.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(line.size()))
      return false;
  }
  return true;
}

SupervisorReply Supervisor::Handle(const SupervisorRequest& request) {
  SupervisorReply reply;
  switch (request.op) {
    case SupervisorRequest::Op::kInfo: break;
    case SupervisorRequest::Op::kEnsure: reply.error = Ensure(request); break;
    case SupervisorRequest::Op::kKeep: on_demand_ = false; break;
    case SupervisorRequest::Op::kDown: leave_reason_ = "told to leave"; break;
  }
  reply.version = kVersion;
  reply.pid = getpid();
  reply.target = options_.dir.CoordinatorTarget();
  reply.on_demand = on_demand_;
  for (const auto& child : children_) {
    reply.children.push_back({child->name, child->process ? child->process->pid() : 0,
                              child->threads, child->device, child->restarts, child->last_exit,
                              child->log});
  }
  return reply;
}

std::string Supervisor::Ensure(const SupervisorRequest& request) {
  const uint32_t threads = std::max<uint32_t>(1, request.threads);
  std::set<std::string> taken;
  std::multiset<std::string> wanted(request.devices.begin(), request.devices.end());
  for (const auto& child : children_) {
    taken.insert(child->name);
    const auto asked = wanted.find(child->device);
    if (asked == wanted.end()) continue;
    if (child->threads == threads) {
      wanted.erase(asked);
    } else if (child->device != "cpu") {
      return fmt::format(
          "'{}' has {} already, with {} threads instead of {}: ask for as many, or let "
          "`neolog down` end it first",
          child->name, child->device, child->threads, threads);
    }
  }
  uint32_t index = 0;
  for (const std::string& device : wanted) {
    while (taken.contains(fmt::format("w{}", index))) ++index;
    const std::string id = fmt::format("w{}", index++);
    mkdir(options_.dir.WorkerState(id).c_str(),
          0700);  // an error shows when the worker wants to use it
    auto worker = std::make_unique<Child>();
    worker->name = id;
    worker->argv = {options_.worker_program,
                    "run",
                    "--coordinator",
                    options_.dir.CoordinatorTarget(),
                    "--id",
                    id,
                    "--state-dir",
                    options_.dir.WorkerState(id),
                    "--threads",
                    std::to_string(threads),
                    "--device",
                    device,
                    "--fingerprint-cache",
                    options_.dir.Fingerprints()};
    worker->threads = threads;
    worker->device = device;
    worker->log = options_.dir.Log(id);
    worker->backoff = options_.min_backoff;
    children_.push_back(std::move(worker));
  }
  StartDue();
  return "";
}

bool Supervisor::ShouldLeave() {
  const SteadyTime now = clock_->SteadyNow();
  if (!connections_.empty()) idle_since_ = now;
  if (!on_demand_ || now - idle_since_ < options_.linger || now < next_idle_check_) return false;
  next_idle_check_ = now + kIdleCheckEvery;
  const auto active = any_active_run_();
  if (active.ok()) {
    unreachable_since_.reset();
    if (*active) return false;
    leave_reason_ = "no run and no client is left";
    return true;
  }
  if (!unreachable_since_) unreachable_since_ = now;
  if (now - *unreachable_since_ < kUnreachableLimit) return false;
  leave_reason_ =
      "no client is left and the coordinator cannot be reached: " + active.status().ToString();
  return true;
}

absl::Duration Supervisor::UntilNext() const {
  absl::Duration next = absl::Seconds(1);
  const SteadyTime now = clock_->SteadyNow();
  for (const auto& child : children_) {
    if (!child->process) next = std::min(next, child->due - now);
  }
  if (on_demand_ && connections_.empty()) {
    next = std::min(next, std::max(idle_since_ + options_.linger, next_idle_check_) - now);
  }
  return std::max(next, absl::ZeroDuration());
}

std::string Supervisor::Run(SignalPipe& stop) {
  for (;;) {
    std::vector<pollfd> watched = {{stop.fd(), POLLIN, 0}, {listen_fd_, POLLIN, 0}};
    for (const auto& connection : connections_) watched.push_back({connection->fd, POLLIN, 0});
    for (const auto& child : children_) {
      if (child->process) watched.push_back({child->process->exit_fd(), POLLIN, 0});
    }
    poll(watched.data(), watched.size(),
         static_cast<int>(absl::ToInt64Milliseconds(UntilNext())) + 1);

    for (const int signal : stop.Take()) {
      if (signal == SIGTERM || signal == SIGINT) leave_reason_ = "received " + SignalName(signal);
    }
    for (size_t i = connections_.size(); i-- > 0;) {
      if (watched[2 + i].revents == 0 || Serve(*connections_[i])) continue;
      connections_.erase(connections_.begin() + static_cast<ptrdiff_t>(i));
      idle_since_ = clock_->SteadyNow();
    }
    Accept();
    Reap();
    if (!leave_reason_.empty() || ShouldLeave()) break;
    StartDue();
  }
  spdlog::info("leaving: {}", leave_reason_);
  StopChildren();
  connections_.clear();  // only now: clients of kDown wait for it
  return leave_reason_;
}

void Supervisor::StopChildren() {
  // Workers first, so that their last steps still reach the coordinator.
  const auto stop = [&](bool workers) {
    const SteadyTime deadline = clock_->SteadyNow() + options_.grace;
    for (auto& child : children_) {
      if (child->process && (child->name != "coordinator") == workers)
        child->process->Signal(SIGTERM).IgnoreError();
    }
    for (auto& child : children_) {
      if (!child->process || (child->name != "coordinator") != workers) continue;
      const absl::Duration left = std::max(absl::ZeroDuration(), deadline - clock_->SteadyNow());
      if (!child->process->Wait(left).ok()) {
        spdlog::warn("{} did not leave within {:.0f} s; killing it", child->name,
                     absl::ToDoubleSeconds(options_.grace));
        child->process->Signal(SIGKILL).IgnoreError();
        child->process->Wait().IgnoreError();
      }
      child->process.reset();
    }
  };
  stop(true);
  stop(false);
  if (lock_ && !children_.empty()) WriteChildren();
}

}  // namespace neolog::cli
