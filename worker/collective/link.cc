#include "worker/collective/link.h"

#include <fmt/format.h>

#include <string>

namespace neolog::collective {

namespace {

constexpr char kRankPayload[] = "neolog/lost-rank";

}  // namespace

absl::Status LostPeer(const v1::Roster& roster, int rank, std::string_view how) {
  absl::Status status = Unavailable(fmt::format("{} {}", MemberName(roster, rank), how));
  status.SetPayload(kRankPayload, absl::Cord(std::to_string(rank)));
  return status;
}

int LostRank(const absl::Status& status) {
  const auto payload = status.GetPayload(kRankPayload);
  return payload.has_value() ? std::stoi(std::string(*payload)) : -1;
}

absl::Status CopyStatus(const absl::Status& status) {
  absl::Status copy(status.code(), status.message());
  if (const int rank = LostRank(status); rank >= 0)
    copy.SetPayload(kRankPayload, absl::Cord(std::to_string(rank)));
  return copy;
}

std::string MemberName(const v1::Roster& roster, int rank) {
  return fmt::format("worker {} (rank {} of roster {})", roster.members(rank).worker().worker_id(),
                     rank, roster.version());
}

absl::StatusOr<int> RankOf(const v1::Roster& roster, const v1::WorkerIdentity& self) {
  for (int i = 0; i < roster.members_size(); ++i) {
    const v1::WorkerIdentity& member = roster.members(i).worker();
    if (member.worker_id() == self.worker_id() && member.incarnation() == self.incarnation())
      return i;
  }
  return FailedPrecondition(
      fmt::format("worker {} with incarnation {:016x} is not a member of roster {} of team {}",
                  self.worker_id(), self.incarnation(), roster.version(), roster.team_id()));
}

Inbox::Inbox(int size, std::function<void(int)> resume)
    : resume_(std::move(resume)), senders_(size) {}

size_t Inbox::Deliver(int from, Part part) {
  MutexLock lock(mutex_);
  senders_[from].parts.push_back(std::move(part));
  changed_.NotifyAll();
  return senders_[from].parts.size();
}

void Inbox::Close(int from, const absl::Status& why) {
  MutexLock lock(mutex_);
  if (senders_[from].closed) return;
  senders_[from].closed = true;
  senders_[from].why = CopyStatus(why);
  changed_.NotifyAll();
}

void Inbox::Kill(const absl::Status& why) {
  MutexLock lock(mutex_);
  if (killed_) return;
  killed_ = true;
  dead_ = CopyStatus(why);
  changed_.NotifyAll();
}

absl::Status Inbox::dead() const {
  MutexLock lock(mutex_);
  return CopyStatus(dead_);
}

absl::Status Inbox::CheckSender(int from) const {
  MutexLock lock(mutex_);
  const Sender& sender = senders_[from];
  return sender.closed && sender.parts.empty() ? CopyStatus(sender.why) : absl::OkStatus();
}

absl::StatusOr<Part> Inbox::Take(int from) {
  Part part;
  {
    MutexLock lock(mutex_);
    Sender& sender = senders_[from];
    while (!killed_ && sender.parts.empty() && !sender.closed) changed_.Wait(mutex_);
    if (killed_) return CopyStatus(dead_);
    if (sender.parts.empty()) {
      killed_ = true;
      dead_ = CopyStatus(sender.why);
      changed_.NotifyAll();
      return CopyStatus(dead_);
    }
    part = std::move(sender.parts.front());
    sender.parts.pop_front();
  }
  if (resume_) resume_(from);
  return part;
}

absl::StatusOr<Part> Inbox::TakeUntil(int from, std::chrono::steady_clock::time_point deadline) {
  Part part;
  {
    MutexLock lock(mutex_);
    Sender& sender = senders_[from];
    while (!killed_ && sender.parts.empty() && !sender.closed) {
      if (std::chrono::steady_clock::now() >= deadline) return Part();
      changed_.WaitUntil(mutex_, deadline);
    }
    if (killed_) return CopyStatus(dead_);
    if (sender.parts.empty()) return CopyStatus(sender.why);
    part = std::move(sender.parts.front());
    sender.parts.pop_front();
  }
  if (resume_) resume_(from);
  return part;
}

Link::Link(v1::Roster roster, int rank, std::shared_ptr<Inbox> inbox)
    : roster_(std::move(roster)), rank_(rank), inbox_(std::move(inbox)) {}

void Link::SendToAll(const Part& part) {
  for (int r = 0; r < size(); ++r) {
    if (r != rank_) Send(r, part);
  }
}

absl::Status Link::Die(const absl::Status& status) {
  inbox_->Kill(status);
  const absl::Status dead = inbox_->dead();
  {
    MutexLock lock(mutex_);
    if (told_) return dead;
    told_ = true;
  }
  OnDead(dead);
  return dead;
}

void Link::Abort(const absl::Status& reason) {
  Die(reason.ok() ? Aborted("the collective was aborted") : absl::AbortedError(reason.message()))
      .IgnoreError();
}

absl::Status Link::Check() {
  const absl::Status dead = inbox_->dead();
  return dead.ok() ? dead : Die(dead);
}

}  // namespace neolog::collective
