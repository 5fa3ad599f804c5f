#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "worker/agent/agent.h"
#include "worker/agent/agent_grpc.h"
#include "worker/agent/run_command.h"
#include "worker/agent/session_listener.h"
#include "worker/collective/chosen.h"
#include "worker/collective/exchange.h"
#include "worker/collective/nccl/nccl_collective.h"
#include "worker/collective/peer_grpc.h"
#include "worker/session/session.h"

namespace neolog::agent {
namespace {

/// How long a leaving worker waits for its last previews, and then for the coordinator to take its
/// goodbye.
constexpr absl::Duration kFlushLimit = absl::Milliseconds(500);
constexpr int kGoodbyeLimitMs = 1000;

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return 0;
    case absl::StatusCode::kInvalidArgument: return 2;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition: return 4;
    default: return 1;
  }
}

absl::Status MakeStateDir(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  if (!error) return absl::OkStatus();
  return InvalidArgument(fmt::format("--state-dir '{}' cannot be used: {}", path, error.message()));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

absl::StatusOr<Target> PeerTarget(const RunOptions& options) {
  if (!options.peer_listen.empty()) return ParseTarget(options.peer_listen);
  // A name of its own per process: peers of a process that died must not reach the next one at its
  // address.
  return ParseTarget(fmt::format("unix:{}/peer-{}.sock",
                                 std::filesystem::absolute(options.state_dir).string(), getpid()));
}

/// Sockets that processes which were killed left behind; the lock says that none of them lives.
void RemoveStaleSockets(const std::string& state_dir) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(state_dir, ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("peer-") && name.ends_with(".sock"))
      std::filesystem::remove(entry.path(), ignored);
  }
}

/// Waits until one of the two is readable, at most `timeout_ms` (-1: for ever). The signal, or 0.
int WaitForEnd(SignalPipe& signals, WakeFd& ended, int timeout_ms) {
  pollfd fds[2] = {{signals.fd(), POLLIN, 0}, {ended.fd(), POLLIN, 0}};
  while (poll(fds, 2, timeout_ms) < 0 && errno == EINTR) {
  }
  const std::vector<int> taken = signals.Take();
  return taken.empty() ? 0 : taken.back();
}

/// NCCL holds the device and a thread for ever: only another process can go on, and whoever
/// supervises this one starts it. Everything that counts is with the coordinator.
void EndStuckProcess(const absl::Status& why) {
  spdlog::critical("{}; it ends, to be started anew", ToStd(why.message()));
  spdlog::shutdown();
  _exit(1);
}

absl::StatusOr<int> Run(const RunOptions& options, const Compute& compute) {
  if (options.id.empty())
    return InvalidArgument("--id is empty: give this worker a name that no other one has");
  RETURN_IF_ERROR(MakeStateDir(options.state_dir));
  ASSIGN_OR_RETURN_WITH(const std::unique_ptr<LockFile> lock,
                        LockFile::Acquire(options.state_dir + "/worker.lock"),
                        "--state-dir belongs to another worker");
  RemoveStaleSockets(options.state_dir);
  ASSIGN_OR_RETURN(const Target listen, PeerTarget(options));
  ASSIGN_OR_RETURN_WITH(const std::shared_ptr<grpc::Channel> channel,
                        MakeChannel(options.coordinator), "--coordinator");
  ASSIGN_OR_RETURN(const std::unique_ptr<SignalPipe> signals,
                   SignalPipe::Create({SIGTERM, SIGINT}));

  GrpcBlobStore blobs(channel);
  ASSIGN_OR_RETURN(const std::unique_ptr<session::Trainer> trainer,
                   compute.make_trainer(options, &blobs));
  ASSIGN_OR_RETURN(const std::unique_ptr<collective::PeerLinks> peers,
                   collective::PeerLinks::Start({.listen = listen}));
  collective::ExchangeFactory exchange(peers.get());
  std::optional<collective::nccl::NcclFactory> nccl;
  if (compute.nccl.libraries != nullptr) {
    nccl.emplace(compute.nccl.libraries, peers.get(),
                 collective::nccl::NcclOptions{
                     .communicator = {.device = compute.nccl.device, .on_stuck = EndStuckProcess}});
  }
  collective::ChosenFactory collectives(&exchange, nccl.has_value() ? &*nccl : nullptr);

  AgentOptions agent_options{.worker_id = options.id,
                             .device_sample = compute.device_sample,
                             .draw_incarnation = [] { return RandomBits64(); }};
  agent_options.registration.set_host(HostName());
  agent_options.registration.set_process_id(getpid());
  agent_options.registration.set_peer_address(peers->address());
  v1::WorkerCapabilities& capabilities = *agent_options.registration.mutable_capabilities();
  capabilities = compute.capabilities;
  if (compute.nccl.libraries != nullptr)
    capabilities.set_nccl(collective::nccl::VersionName(compute.nccl.libraries->version));

  // Destroyed from the bottom up: timers' and streams' callbacks have ended before the agent goes,
  // the session's thread before what it speaks through.
  SystemClock clock;
  WakeFd ended;
  absl::Status end;
  std::optional<GrpcAgentConnector> connector(channel);
  std::optional<SystemTimers> timers(std::in_place);
  Agent agent(agent_options, &*connector, &clock, &*timers);
  {
    session::Session session({}, {trainer.get(), &collectives, &agent, &blobs, &clock});
    SessionListener listener(&session);
    agent.Start(&listener, [&](const absl::Status& status) {
      end = status;
      ended.Wake();
    });
    spdlog::info("worker '{}' waits for work from {}", options.id, options.coordinator);
    const int signal = WaitForEnd(*signals, ended, -1);
    if (signal != 0) {
      spdlog::info("leaving: {}", signal == SIGTERM ? "SIGTERM" : "SIGINT");
      session.Flush(kFlushLimit);
      agent.Leave(signal == SIGTERM ? "SIGTERM" : "SIGINT");
      WaitForEnd(*signals, ended, kGoodbyeLimitMs);
      end = absl::OkStatus();
    }
    timers.reset();
    connector.reset();  // no callback is under way from here on
    if (signal != 0) return 128 + signal;
  }
  if (!end.ok()) return end;
  return 0;
}

}  // namespace

int RunWorker(const RunOptions& options, const Compute& compute) {
  const absl::StatusOr<int> code = Run(options, compute);
  if (code.ok()) return *code;
  fmt::print(stderr, "neolog-worker: {}\n", ToStd(code.status().message()));
  return ExitCodeOf(code.status());
}

}  // namespace neolog::agent
