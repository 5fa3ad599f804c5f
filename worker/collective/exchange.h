#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "neolog/v1/peer.pb.h"
#include "neolog/v1/run.pb.h"
#include "worker/collective/collective.h"

namespace neolog::collective {

/// A message that holds a part; shared by all its receivers and never changed after it was sent.
using Part = std::shared_ptr<const v1::PeerMessage>;

/// What the other ranks sent to one rank under one roster, in order, and how each of them ended.
/// Any thread.
///
/// A sender that leaves in good order (Close) is not an error by itself: what it sent before stays
/// readable, and only an operation that needs more of it fails. A member that died or aborted ends
/// the whole roster: Kill ends every present and later Take, whomever it waits for.
class Inbox {
 public:
  /// Room for `size` senders. `resume(rank)` is called, outside of any lock, when a part of a rank
  /// was taken, so that a transport may read on; it may be empty.
  Inbox(int size, std::function<void(int)> resume);

  /// A part of `from` arrived. Returns how many of its parts wait.
  size_t Deliver(int from, Part part);
  /// Nothing more will come from `from`; `why` is what an operation that needs more returns. The
  /// first reason stays.
  void Close(int from, const absl::Status& why);
  /// Ends everything. The first reason stays.
  void Kill(const absl::Status& why);
  /// The error that ended everything, or OK.
  absl::Status dead() const;
  /// The next part of `from`: waits for it, for the sender's end or for Kill. An error kills the
  /// inbox.
  absl::StatusOr<Part> Take(int from);
  /// Not OK when `from` is known to be gone and everything it sent was taken.
  absl::Status CheckSender(int from) const;

 private:
  struct Sender {
    std::deque<Part> parts;
    bool closed = false;
    absl::Status why;
  };
  const std::function<void(int)> resume_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Sender> senders_ GUARDED_BY(mutex_);
  bool killed_ GUARDED_BY(mutex_) = false;
  absl::Status dead_ GUARDED_BY(mutex_);
};

/// The operations of Collective over an inbox and a way to send: everything that in-process and
/// peer have in common.
class ExchangeCollective : public Collective {
 public:
  int rank() const override { return rank_; }
  int size() const override { return roster_.members_size(); }
  absl::Status AllGather(std::span<const std::byte> send, std::span<const size_t> sizes,
                         std::span<std::byte> receive) override;
  absl::Status AllReduceSum(std::span<float> values) override;
  absl::Status Broadcast(int root, std::span<std::byte> buffer) override;
  void Abort(const absl::Status& reason) override;

 protected:
  ExchangeCollective(v1::Roster roster, int rank, std::shared_ptr<Inbox> inbox);
  /// Hands `part` to the transport for rank `to`, without waiting for the peer.
  virtual void Send(int to, const Part& part) = 0;
  /// Called once, when this side is dead: tells the peers. `dead` is the reason. From any thread.
  virtual void OnDead(const absl::Status& dead) = 0;

  const v1::Roster& roster() const { return roster_; }
  Inbox& inbox() { return *inbox_; }

 private:
  absl::Status Begin();
  Part MakePart(const char* operation, std::span<const std::byte> bytes) const;
  absl::Status Receive(int from, const char* operation, std::span<std::byte> into);
  absl::Status Die(const absl::Status& status);
  absl::Status Gather(const char* operation, std::span<const std::byte> send,
                      std::span<const size_t> sizes, std::span<std::byte> receive);

  const v1::Roster roster_;
  const int rank_;
  const std::shared_ptr<Inbox> inbox_;
  uint64_t sequence_ = 0;  // the operations' thread only
  Mutex mutex_;
  bool told_ GUARDED_BY(mutex_) = false;
};

/// Index of `self` in `roster`, by id and incarnation. FailedPrecondition when it is not a member.
absl::StatusOr<int> RankOf(const v1::Roster& roster, const v1::WorkerIdentity& self);

/// "worker w2 (rank 1 of roster 7)", for messages.
std::string MemberName(const v1::Roster& roster, int rank);

/// Unavailable: member `rank` `how`. The status carries the rank for LostRank.
absl::Status LostPeer(const v1::Roster& roster, int rank, std::string_view how);

/// The rank that a LostPeer status is about, -1 for other statuses.
int LostRank(const absl::Status& status);

/// A copy that shares nothing with `status`, for handing it to another thread: absl counts
/// references inside a library that ThreadSanitizer cannot see into.
absl::Status CopyStatus(const absl::Status& status);

}  // namespace neolog::collective
