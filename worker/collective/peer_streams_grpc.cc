#include "worker/collective/peer_streams_grpc.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/rpc/status.h"

namespace neolog::collective {
namespace {

/// Parts of one sender that may wait before its stream is read on: a broadcasting root can run far
/// ahead.
constexpr size_t kMaxWaitingParts = 4;
/// Streams that may wait for a roster; a worker has fewer peers than that.
constexpr size_t kMaxParked = 4096;

}  // namespace

PeerTeam::PeerTeam(v1::Roster roster, int rank)
    : roster_(std::move(roster)), rank_(rank), inbound_(roster_.members_size()) {
  inbox_ = std::make_shared<Inbox>(roster_.members_size(), [this](int from) { Resume(from); });
}

bool PeerTeam::Attach(int from, std::shared_ptr<InboundStream> stream) {
  MutexLock lock(mutex_);
  if (inbound_[from] != nullptr) return false;
  inbound_[from] = std::move(stream);
  return true;
}

void PeerTeam::Resume(int from) {
  std::shared_ptr<InboundStream> stream;
  {
    MutexLock lock(mutex_);
    stream = inbound_[from];
  }
  if (stream != nullptr) stream->Resume();
}

void PeerTeam::FinishInbound(const absl::Status& status) {
  std::vector<std::shared_ptr<InboundStream>> streams(roster_.members_size());
  {
    MutexLock lock(mutex_);
    streams.swap(inbound_);
  }
  for (const auto& stream : streams) {
    if (stream != nullptr) stream->End(status);
  }
}

InboundStream* InboundStream::Start(PeerHub* hub) {
  std::shared_ptr<InboundStream> stream(new InboundStream(hub));
  stream->self_ = stream;
  stream->message_ = std::make_shared<v1::PeerMessage>();
  stream->StartRead(stream->message_.get());
  return stream.get();
}

void InboundStream::Attach(std::shared_ptr<PeerTeam> team, int from) {
  MutexLock lock(mutex_);
  if (ended_) {
    team->inbox().Kill(
        LostPeer(team->roster(), from, "is gone: its stream ended before the roster arrived here"));
    return;
  }
  team_ = std::move(team);
  from_ = from;
  message_ = std::make_shared<v1::PeerMessage>();
  StartRead(message_.get());
}

void InboundStream::Resume() {
  MutexLock lock(mutex_);
  if (!paused_ || ended_) return;
  paused_ = false;
  message_ = std::make_shared<v1::PeerMessage>();
  StartRead(message_.get());
}

void InboundStream::End(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    if (ended_) return;
    ended_ = true;
  }
  grpc::ServerBidiReactor<v1::PeerMessage, v1::PeerMessage>::Finish(ToGrpc(status));
}

void InboundStream::Gone(bool broke) {
  std::shared_ptr<PeerTeam> team;
  int from = -1;
  {
    MutexLock lock(mutex_);
    team = team_;
    from = from_;
  }
  hub_->Unpark(this);
  if (team == nullptr) return;
  if (broke) {
    team->inbox().Kill(LostPeer(team->roster(), from, "is gone: its stream broke"));
  } else {
    team->inbox().Close(from, LostPeer(team->roster(), from, "left the team"));
  }
}

void InboundStream::OnReadDone(bool ok) {
  if (!ok) {
    // Either the peer half-closed behind its last part, or OnCancel says that the stream broke.
    Gone(/*broke=*/false);
    End(absl::OkStatus());
    return;
  }
  if (hello_.has_worker()) {
    if (!message_->has_part()) {
      End(InvalidArgument("after the hello a peer sends parts only"));
      return;
    }
    MutexLock lock(mutex_);
    if (ended_) return;
    paused_ = team_->inbox().Deliver(from_, std::move(message_)) >= kMaxWaitingParts;
    if (paused_) return;
    message_ = std::make_shared<v1::PeerMessage>();
    StartRead(message_.get());
    return;
  }
  if (!message_->has_hello() || !message_->hello().has_worker()) {
    End(InvalidArgument("the first message of a stream is a hello that names its worker"));
    return;
  }
  hello_ = message_->hello();
  hub_->OnHello(self_);
}

void InboundStream::OnCancel() {
  Gone(/*broke=*/true);
  End(absl::CancelledError("the stream broke"));
}

void InboundStream::OnDone() {
  hub_->Unpark(this);
  const std::shared_ptr<InboundStream> self = std::move(self_);  // destroyed last
  std::shared_ptr<PeerTeam> team;
  MutexLock lock(mutex_);
  team.swap(team_);
}

OutboundStream::OutboundStream(std::shared_ptr<PeerHub> hub, std::shared_ptr<PeerTeam> team, int to,
                               std::shared_ptr<grpc::Channel> channel)
    : hub_(std::move(hub)),
      team_(std::move(team)),
      to_(to),
      stub_(v1::PeerService::NewStub(std::move(channel))) {}

std::shared_ptr<OutboundStream> OutboundStream::Start(std::shared_ptr<PeerHub> hub,
                                                      std::shared_ptr<PeerTeam> team, int to,
                                                      std::shared_ptr<grpc::Channel> channel,
                                                      Part hello) {
  std::shared_ptr<OutboundStream> stream(
      new OutboundStream(std::move(hub), std::move(team), to, std::move(channel)));
  stream->self_ = stream;
  stream->hub_->AddOutbound(stream);
  stream->stub_->async()->Exchange(&stream->context_, stream.get());
  // Writes come from other threads: the hold keeps the call alive for them. The read, which never
  // yields a message, tells when the call has ended.
  stream->AddHold();
  stream->StartRead(&stream->ignored_);
  stream->StartCall();
  stream->Send(std::move(hello));
  return stream;
}

void OutboundStream::WriteNextLocked() {
  if (closed_ || writing_) return;
  if (!queue_.empty()) {
    writing_ = true;
    StartWrite(queue_.front().get());
  } else if (finishing_ && !writes_done_) {
    writes_done_ = true;
    StartWritesDone();
  }
}

void OutboundStream::Send(Part message) {
  MutexLock lock(mutex_);
  if (closed_ || finishing_) return;
  queue_.push_back(std::move(message));
  WriteNextLocked();
}

void OutboundStream::Finish() {
  MutexLock lock(mutex_);
  finishing_ = true;
  WriteNextLocked();
}

void OutboundStream::Cancel() { context_.TryCancel(); }

void OutboundStream::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  writing_ = false;
  queue_.pop_front();
  if (ok) WriteNextLocked();
}

void OutboundStream::OnReadDone(bool ok) {
  if (ok) {
    StartRead(&ignored_);
    return;
  }
  {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  RemoveHold();
}

void OutboundStream::OnDone(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK: break;  // it left in good order; what it sent is still being read
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::INVALID_ARGUMENT:
      team_->inbox().Kill(Annotate(FromGrpc(status), MemberName(team_->roster(), to_)));
      break;
    default:
      team_->inbox().Kill(LostPeer(team_->roster(), to_, "is gone: " + status.error_message()));
  }
  // gRPC joins its own threads when a process's last channel goes, so no stream (and no channel)
  // may be destroyed on one of them: the hub keeps it for a thread of ours. Nothing of this object
  // is touched behind the call.
  const std::shared_ptr<PeerHub> hub = hub_;
  hub->RemoveOutbound(std::move(self_));
}

void PeerHub::OnHello(const std::shared_ptr<InboundStream>& stream) {
  const v1::PeerHello& hello = stream->hello();
  const int from = static_cast<int>(hello.rank());
  std::shared_ptr<PeerTeam> team;
  HelloDecision decision;
  {
    MutexLock lock(mutex_);
    const Entry& entry = teams_[hello.team_id()];
    decision = DecideHello(hello, entry.fence);
    team = entry.team;
    if (decision.verdict == HelloDecision::Verdict::kPark) {
      if (parked_.size() < kMaxParked) {
        parked_.push_back(stream);
        return;
      }
      decision = {HelloDecision::Verdict::kRefuse,
                  absl::ResourceExhaustedError(
                      "too many streams wait for rosters that this worker does not have")};
    }
  }
  switch (decision.verdict) {
    case HelloDecision::Verdict::kAttach:
      if (team->Attach(from, stream)) {
        stream->Attach(team, from);
      } else {
        stream->End(FailedPrecondition(
            fmt::format("{} already has a stream", MemberName(team->roster(), from))));
      }
      break;
    case HelloDecision::Verdict::kFinish: stream->End(absl::OkStatus()); break;
    default: stream->End(decision.reason);
  }
}

void PeerHub::Unpark(const InboundStream* stream) {
  std::shared_ptr<InboundStream> gone;
  MutexLock lock(mutex_);
  const auto it = std::find_if(parked_.begin(), parked_.end(),
                               [&](const auto& p) { return p.get() == stream; });
  if (it == parked_.end()) return;
  gone = std::move(*it);
  parked_.erase(it);
}

absl::Status PeerHub::Begin(const std::shared_ptr<PeerTeam>& team) {
  const v1::Roster& roster = team->roster();
  std::vector<std::shared_ptr<InboundStream>> waiting;
  {
    MutexLock lock(mutex_);
    Entry& entry = teams_[roster.team_id()];
    if (entry.fence.roster.has_value() && entry.fence.roster->version() >= roster.version()) {
      return FailedPrecondition(
          fmt::format("this worker already had roster {} of team {}; {} is not newer",
                      entry.fence.roster->version(), roster.team_id(), roster.version()));
    }
    entry = {.fence = {.roster = roster}, .team = team};
    for (size_t i = 0; i < parked_.size();) {
      if (parked_[i]->hello().team_id() == roster.team_id() &&
          parked_[i]->hello().roster_version() <= roster.version()) {
        waiting.push_back(std::move(parked_[i]));
        parked_.erase(parked_.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }
  for (const auto& stream : waiting) OnHello(stream);
  return absl::OkStatus();
}

void PeerHub::Retire(const PeerTeam& team, const absl::Status& status) {
  MutexLock lock(mutex_);
  Entry& entry = teams_[team.roster().team_id()];
  if (entry.team.get() != &team || entry.fence.ended) return;
  entry.fence.ended = true;
  entry.fence.end = CopyStatus(status);
  entry.team.reset();
}

void PeerHub::AddOutbound(std::shared_ptr<OutboundStream> stream) {
  MutexLock lock(mutex_);
  outbound_.emplace(std::move(stream), generation_);
}

void PeerHub::RemoveOutbound(std::shared_ptr<OutboundStream> stream) {
  MutexLock lock(mutex_);
  outbound_.erase(stream);
  done_.push_back(std::move(stream));
  changed_.NotifyAll();
}

void PeerHub::NextGeneration() {
  std::vector<std::shared_ptr<OutboundStream>> old;
  std::vector<std::shared_ptr<OutboundStream>> done;  // destroyed here
  {
    MutexLock lock(mutex_);
    for (const auto& [stream, generation] : outbound_) {
      if (generation < generation_) old.push_back(stream);
    }
    ++generation_;
    done.swap(done_);
  }
  for (const auto& stream : old) stream->Cancel();
}

void PeerHub::EndOutbound() {
  std::vector<std::shared_ptr<OutboundStream>> streams;
  {
    MutexLock lock(mutex_);
    for (const auto& entry : outbound_) streams.push_back(entry.first);
  }
  for (const auto& stream : streams) stream->Cancel();
  streams.clear();
  MutexLock lock(mutex_);
  while (!outbound_.empty()) changed_.Wait(mutex_);
  streams.swap(done_);  // destroyed when the lock is released
}

}  // namespace neolog::collective
