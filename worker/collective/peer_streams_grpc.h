#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "neolog/v1/peer.grpc.pb.h"
#include "worker/collective/link.h"
#include "worker/collective/peer_fence.h"

namespace neolog::collective {

class PeerHub;
class InboundStream;

/// One roster's shared part: what streams deliver into. Outlives the collective while streams still
/// end.
class PeerTeam {
 public:
  PeerTeam(v1::Roster roster, int rank);
  const v1::Roster& roster() const { return roster_; }
  int rank() const { return rank_; }
  Inbox& inbox() const { return *inbox_; }
  const std::shared_ptr<Inbox>& shared_inbox() const { return inbox_; }
  /// `stream` delivers what rank `from` sends. False when another one already does.
  bool Attach(int from, std::shared_ptr<InboundStream> stream);
  /// Reads on from `from`, if its stream paused.
  void Resume(int from);
  /// Ends all inbound streams with `status`.
  void FinishInbound(const absl::Status& status);

 private:
  const v1::Roster roster_;
  const int rank_;
  std::shared_ptr<Inbox> inbox_;
  Mutex mutex_;
  std::vector<std::shared_ptr<InboundStream>> inbound_ GUARDED_BY(mutex_);
};

/// The serving end of a stream: hello, then parts. It owns itself until gRPC is done with it.
class InboundStream : public grpc::ServerBidiReactor<v1::PeerMessage, v1::PeerMessage> {
 public:
  static InboundStream* Start(PeerHub* hub);
  /// Begins to deliver into `team` as rank `from`.
  void Attach(std::shared_ptr<PeerTeam> team, int from);
  /// Reads on after a pause.
  void Resume();
  /// Ends the stream. The first call counts.
  void End(const absl::Status& status);
  const v1::PeerHello& hello() const { return hello_; }

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit InboundStream(PeerHub* hub) : hub_(hub) {}
  void Gone(bool broke);

  PeerHub* const hub_;  // outlives the server and with it every stream
  std::shared_ptr<InboundStream> self_;
  v1::PeerHello hello_;  // set before the stream is shown to others
  std::shared_ptr<v1::PeerMessage> message_;
  Mutex mutex_;
  std::shared_ptr<PeerTeam> team_ GUARDED_BY(mutex_);
  int from_ GUARDED_BY(mutex_) = -1;
  bool paused_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

/// The sending end of a stream. It owns itself until gRPC is done with it.
class OutboundStream : public grpc::ClientBidiReactor<v1::PeerMessage, v1::PeerMessage> {
 public:
  static std::shared_ptr<OutboundStream> Start(std::shared_ptr<PeerHub> hub,
                                               std::shared_ptr<PeerTeam> team, int to,
                                               std::shared_ptr<grpc::Channel> channel, Part hello);
  /// Queues a message; dropped when the stream has ended.
  void Send(Part message);
  /// Half-closes behind what is queued.
  void Finish();
  /// Ends the stream now.
  void Cancel();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  OutboundStream(std::shared_ptr<PeerHub> hub, std::shared_ptr<PeerTeam> team, int to,
                 std::shared_ptr<grpc::Channel> channel);
  void WriteNextLocked() REQUIRES(mutex_);

  const std::shared_ptr<PeerHub> hub_;
  const std::shared_ptr<PeerTeam> team_;
  const int to_;
  const std::unique_ptr<v1::PeerService::Stub> stub_;
  grpc::ClientContext context_;
  v1::PeerMessage ignored_;
  std::shared_ptr<OutboundStream> self_;
  Mutex mutex_;
  std::deque<Part> queue_ GUARDED_BY(mutex_);
  bool writing_ GUARDED_BY(mutex_) = false;
  bool finishing_ GUARDED_BY(mutex_) = false;
  bool writes_done_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;  // the hold is gone: nothing may be started from outside
};

/// What a worker knows about its teams, and the streams that wait or linger. Any thread.
class PeerHub {
 public:
  /// A stream said hello: attaches, parks or refuses it.
  void OnHello(const std::shared_ptr<InboundStream>& stream);
  /// A parked stream ended.
  void Unpark(const InboundStream* stream);
  /// Makes `team` the current one of its team id and attaches the streams that waited for it.
  /// FailedPrecondition when it is not newer than the last one.
  absl::Status Begin(const std::shared_ptr<PeerTeam>& team);
  /// The collective of `team` was destroyed or died with `status`.
  void Retire(const PeerTeam& team, const absl::Status& status);
  void AddOutbound(std::shared_ptr<OutboundStream> stream);
  /// `stream` has ended; it is destroyed later, on a thread that is not gRPC's.
  void RemoveOutbound(std::shared_ptr<OutboundStream> stream);
  /// A new roster begins. Streams of the last one may still deliver what its members read; older
  /// ones that linger, to a peer that is stopped, are cancelled.
  void NextGeneration();
  /// Cancels every outbound stream and returns when they are gone.
  void EndOutbound();

 private:
  struct Entry {
    TeamFence fence;
    std::shared_ptr<PeerTeam> team;
  };
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Entry> teams_ GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<InboundStream>> parked_ GUARDED_BY(mutex_);
  uint64_t generation_ GUARDED_BY(mutex_) = 0;
  std::map<std::shared_ptr<OutboundStream>, uint64_t> outbound_
      GUARDED_BY(mutex_);  // with their generation
  std::vector<std::shared_ptr<OutboundStream>> done_ GUARDED_BY(mutex_);
};

}  // namespace neolog::collective
