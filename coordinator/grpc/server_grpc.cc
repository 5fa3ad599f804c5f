#include "coordinator/grpc/server_grpc.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <unistd.h>

#include <mutex>

#include "common/rpc/channel.h"
#include "coordinator/grpc/agent_grpc.h"
#include "coordinator/grpc/blob_grpc.h"
#include "coordinator/grpc/control_grpc.h"
#include "coordinator/grpc/listen.h"
#include "coordinator/grpc/status_grpc.h"

namespace neolog::coordinator {

struct Server::Impl {
  Impl(const ServerSetup& setup, Runtime& runtime, BlobStore& blobs)
      : targets(setup.targets),
        agent(runtime),
        control(runtime, setup.on_shutdown),
        status(runtime),
        blob(blobs, setup.max_blob_bytes) {}

  std::vector<Target> targets;
  AgentServiceImpl agent;
  ControlServiceImpl control;
  StatusServiceImpl status;
  BlobServiceImpl blob;
  std::unique_ptr<grpc::Server> server;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() { Stop(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerSetup setup, Runtime& runtime,
                                                      BlobStore& blobs) {
  // Both are process-wide switches of gRPC that builders read.
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
  grpc::ServerBuilder builder;
  std::vector<int> ports;
  RETURN_IF_ERROR(ConfigureServer(setup.targets, {}, builder, &ports));
  for (const Target& target : setup.targets) RETURN_IF_ERROR(PrepareListening(target));
  auto impl = std::make_unique<Impl>(setup, runtime, blobs);
  builder.RegisterService(&impl->agent);
  builder.RegisterService(&impl->control);
  builder.RegisterService(&impl->status);
  builder.RegisterService(&impl->blob);
  impl->server = builder.BuildAndStart();
  for (size_t i = 0; i < setup.targets.size(); ++i) {
    if (ports[i] == 0) return WhyNotBound(setup.targets[i]);
    if (!setup.targets[i].is_unix()) impl->targets[i].port = static_cast<uint16_t>(ports[i]);
  }
  if (impl->server == nullptr) return Unavailable("the gRPC server could not be started");
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::vector<std::string> Server::addresses() const {
  std::vector<std::string> addresses;
  for (const Target& target : impl_->targets) addresses.push_back(target.ToString());
  return addresses;
}

void Server::Stop(absl::Duration grace) {
  if (impl_->server == nullptr) return;
  if (auto* health = impl_->server->GetHealthCheckService(); health != nullptr) health->Shutdown();
  impl_->server->Shutdown(gpr_time_from_millis(absl::ToInt64Milliseconds(grace), GPR_TIMESPAN));
  impl_->server->Wait();
  impl_->server.reset();
  for (const Target& target : impl_->targets) {
    if (target.is_unix()) ::unlink(target.path.c_str());
  }
}

}  // namespace neolog::coordinator
