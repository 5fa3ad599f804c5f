#include "common/rpc/channel.h"

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <mutex>

#include "common/base/log.h"

namespace neolog {
namespace {

absl::Status CheckAllowed(const Target& target, const TlsFiles& tls, std::string_view verb) {
  if (tls.any()) {
    return absl::UnimplementedError(
        "TLS files were given, but this version has no TLS: leave them out and use a Unix socket "
        "or a loopback address");
  }
  if (!IsLoopback(target)) {
    return FailedPrecondition(
        fmt::format("will not {} {}: beyond this machine TLS and a token are needed, and this "
                    "version has neither; "
                    "use unix:/path/to.sock or 127.0.0.1:port (through an SSH tunnel, if need be)",
                    verb, target.ToString()));
  }
  return absl::OkStatus();
}

// What gRPC prints as an error comes back as a status as well, and is said there in words.
void QuietGrpc() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function([](gpr_log_func_args* said) {
      spdlog::debug("gRPC: {} ({}:{})", said->message, said->file, said->line);
    });
  });
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& target,
                                                           const ChannelOptions& options) {
  ASSIGN_OR_RETURN(const Target parsed, ParseTarget(target));
  RETURN_IF_ERROR(CheckAllowed(parsed, options.tls, "connect to"));
  QuietGrpc();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  const int backoff = static_cast<int>(absl::ToInt64Milliseconds(options.max_reconnect_backoff));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, std::min(100, backoff));
  // Whatever its name says, gRPC takes this as the time that an attempt to connect has.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options.connect_timeout)));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, backoff);
  // A proxy from the environment has no business between the programs of one cluster.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, options.own_connection ? 1 : 0);
  return grpc::CreateCustomChannel(parsed.ToString(), grpc::InsecureChannelCredentials(),
                                   arguments);
}

absl::Status ConfigureServer(const std::vector<Target>& targets, const ServerOptions& options,
                             grpc::ServerBuilder& builder, std::vector<int>* ports) {
  if (targets.empty()) return InvalidArgument("a server needs at least one address to listen on");
  for (const Target& target : targets) {
    RETURN_IF_ERROR(CheckAllowed(target, options.tls, "listen on"));
  }
  QuietGrpc();
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(options.max_message_bytes);
  // Two servers on one port would split the calls between them without an error.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (ports != nullptr) ports->assign(targets.size(), 0);
  for (size_t i = 0; i < targets.size(); ++i) {
    builder.AddListeningPort(targets[i].ToString(), grpc::InsecureServerCredentials(),
                             ports == nullptr ? nullptr : &(*ports)[i]);
  }
  return absl::OkStatus();
}

}  // namespace neolog
