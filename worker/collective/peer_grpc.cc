#include "worker/collective/peer_grpc.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <map>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/rpc/channel.h"
#include "worker/collective/peer_streams_grpc.h"

namespace neolog::collective {
namespace {

class PeerLink : public Link {
 public:
  PeerLink(std::shared_ptr<PeerHub> hub, std::shared_ptr<PeerTeam> team)
      : Link(team->roster(), team->rank(), team->shared_inbox()),
        hub_(std::move(hub)),
        team_(std::move(team)),
        outbound_(size()) {}

  /// In good order: what was sent still arrives, and nothing is read any more.
  ~PeerLink() override {
    hub_->Retire(*team_, absl::OkStatus());
    for (const auto& stream : outbound_) {
      if (stream != nullptr) stream->Finish();
    }
    team_->FinishInbound(absl::OkStatus());
  }

  void SetStream(int to, std::shared_ptr<OutboundStream> stream) {
    outbound_[to] = std::move(stream);
  }

  void Send(int to, const Part& part) override { outbound_[to]->Send(part); }

 protected:
  void OnDead(const absl::Status& dead) override {
    hub_->Retire(*team_, dead);
    // A disagreement is told in order, behind the part that shows it; everything else at once.
    const bool disagreement = dead.code() == absl::StatusCode::kInternal;
    for (const auto& stream : outbound_) {
      if (stream == nullptr) continue;
      if (disagreement) {
        stream->Finish();
      } else {
        stream->Cancel();
      }
    }
    team_->FinishInbound(
        disagreement ? dead : Unavailable(fmt::format("left the team: {}", ToStd(dead.message()))));
  }

 private:
  const std::shared_ptr<PeerHub> hub_;
  const std::shared_ptr<PeerTeam> team_;
  // by rank; const once the link is handed out
  std::vector<std::shared_ptr<OutboundStream>> outbound_;
};

class PeerServiceImpl : public v1::PeerService::CallbackService {
 public:
  explicit PeerServiceImpl(PeerHub* hub) : hub_(hub) {}
  grpc::ServerBidiReactor<v1::PeerMessage, v1::PeerMessage>* Exchange(
      grpc::CallbackServerContext*) override {
    return InboundStream::Start(hub_);
  }

 private:
  PeerHub* const hub_;
};

}  // namespace

struct PeerLinks::Server {
  std::shared_ptr<PeerHub> hub = std::make_shared<PeerHub>();
  PeerServiceImpl service{hub.get()};
  int max_message_bytes = 0;
  /// Connections to the members of the last roster, by id, incarnation and address: they outlive
  /// rosters, so that a new one neither connects again nor leaves half-made connections behind when
  /// it is aborted at once.
  Mutex mutex;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels GUARDED_BY(mutex);
  std::unique_ptr<grpc::Server> server;

  absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const v1::RosterMember& member);
  void KeepChannels(const v1::Roster& roster);
};

namespace {

std::string ChannelKey(const v1::RosterMember& member) {
  return fmt::format("{} {:016x} {}", member.worker().worker_id(), member.worker().incarnation(),
                     member.peer_address());
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> PeerLinks::Server::ChannelTo(
    const v1::RosterMember& member) {
  const std::string key = ChannelKey(member);
  {
    MutexLock lock(mutex);
    const auto known = channels.find(key);
    // One that failed backs off; a new one tries at once.
    if (known != channels.end() && known->second->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE)
      return known->second;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                   MakeChannel(member.peer_address(),
                               {.max_message_bytes = max_message_bytes, .own_connection = true}));
  MutexLock lock(mutex);
  channels[key] = channel;
  return channel;
}

void PeerLinks::Server::KeepChannels(const v1::Roster& roster) {
  std::map<std::string, std::shared_ptr<grpc::Channel>> gone;  // destroyed without the lock
  MutexLock lock(mutex);
  gone.swap(channels);
  for (const v1::RosterMember& member : roster.members()) {
    const auto kept = gone.find(ChannelKey(member));
    if (kept != gone.end()) channels.insert(gone.extract(kept));
  }
}

PeerLinks::PeerLinks(std::unique_ptr<Server> server, std::string address)
    : server_(std::move(server)), address_(std::move(address)) {}

absl::StatusOr<std::unique_ptr<PeerLinks>> PeerLinks::Start(const PeerOptions& options) {
  auto server = std::make_unique<Server>();
  server->max_message_bytes = options.max_message_bytes;
  grpc::ServerBuilder builder;
  std::vector<int> ports;
  RETURN_IF_ERROR(ConfigureServer(
      {options.listen}, {.max_message_bytes = options.max_message_bytes}, builder, &ports));
  builder.RegisterService(&server->service);
  server->server = builder.BuildAndStart();
  if (server->server == nullptr || ports[0] == 0) {
    return Unavailable(
        fmt::format("cannot listen for peers on {}: is it in use, and does its folder exist?",
                    options.listen.ToString()));
  }
  Target bound = options.listen;
  if (!bound.is_unix()) bound.port = static_cast<uint16_t>(ports[0]);
  return std::unique_ptr<PeerLinks>(new PeerLinks(std::move(server), bound.ToString()));
}

PeerLinks::~PeerLinks() {
  server_->hub->EndOutbound();
  // A deadline in the past cancels the inbound streams; returns when all of them are done.
  server_->server->Shutdown(std::chrono::system_clock::time_point::min());
}

absl::StatusOr<std::unique_ptr<Link>> PeerLinks::Connect(const v1::Roster& roster,
                                                         const v1::WorkerIdentity& self) {
  ASSIGN_OR_RETURN(const int rank, RankOf(roster, self));
  std::vector<std::shared_ptr<grpc::Channel>> channels(roster.members_size());
  for (int r = 0; r < roster.members_size(); ++r) {
    if (r == rank) continue;
    ASSIGN_OR_RETURN_WITH(channels[r], server_->ChannelTo(roster.members(r)),
                          "peer address of " + MemberName(roster, r));
  }
  server_->KeepChannels(roster);
  server_->hub->NextGeneration();
  auto team = std::make_shared<PeerTeam>(roster, rank);
  RETURN_IF_ERROR(server_->hub->Begin(team));
  auto made = std::make_unique<PeerLink>(server_->hub, team);
  auto hello = std::make_shared<v1::PeerMessage>();
  *hello->mutable_hello()->mutable_worker() = self;
  hello->mutable_hello()->set_team_id(roster.team_id());
  hello->mutable_hello()->set_roster_version(roster.version());
  hello->mutable_hello()->set_rank(static_cast<uint32_t>(rank));
  for (int r = 0; r < roster.members_size(); ++r) {
    if (r != rank)
      made->SetStream(r, OutboundStream::Start(server_->hub, team, r, channels[r], hello));
  }
  return made;
}

}  // namespace neolog::collective
