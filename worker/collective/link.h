#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/status.h"
#include "neolog/v1/peer.pb.h"
#include "neolog/v1/run.pb.h"

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
  /// As Take, but null when nothing came until `deadline`; the past: whether something is there.
  /// The end of the sender is told and does not kill the inbox.
  absl::StatusOr<Part> TakeUntil(int from, std::chrono::steady_clock::time_point deadline);
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

/// How the members of one roster speak to each other: parts in order from each to each, and the end
/// of any of them known at once. It serves one roster version and is dead after the first error.
/// Destroying it leaves the team in good order: what was sent still arrives.
class Link {
 public:
  virtual ~Link() = default;
  const v1::Roster& roster() const { return roster_; }
  int rank() const { return rank_; }
  int size() const { return roster_.members_size(); }
  Inbox& inbox() { return *inbox_; }

  /// Hands `part` to the transport for rank `to`, without waiting for the peer. One thread at a
  /// time.
  virtual void Send(int to, const Part& part) = 0;
  /// As Send, to every other rank.
  void SendToAll(const Part& part);
  /// Ends this side with `status`, the first time telling the peers. Returns the reason that
  /// counts: the first one. Any thread.
  absl::Status Die(const absl::Status& status);
  /// As Die, as Aborted: what Collective::Abort does. Any thread.
  void Abort(const absl::Status& reason);
  /// OK, or why this side is dead, in which case the peers are told. Any thread.
  absl::Status Check();

 protected:
  Link(v1::Roster roster, int rank, std::shared_ptr<Inbox> inbox);
  /// Called once, when this side is dead: tells the peers. `dead` is the reason. From any thread.
  virtual void OnDead(const absl::Status& dead) = 0;

 private:
  const v1::Roster roster_;
  const int rank_;
  const std::shared_ptr<Inbox> inbox_;
  Mutex mutex_;
  bool told_ GUARDED_BY(mutex_) = false;
};

/// Connects the members of one roster version.
class LinkFactory {
 public:
  virtual ~LinkFactory() = default;
  /// `self` must be a member of `roster`; a roster of one needs no peers. Does not wait for the
  /// peers. FailedPrecondition when this worker already had this roster version of the team, or a
  /// newer one.
  virtual absl::StatusOr<std::unique_ptr<Link>> Connect(const v1::Roster& roster,
                                                        const v1::WorkerIdentity& self) = 0;
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
