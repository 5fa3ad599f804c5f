#include "worker/collective/exchange.h"

#include <fmt/format.h>

#include <cstring>
#include <numeric>

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

ExchangeCollective::ExchangeCollective(v1::Roster roster, int rank, std::shared_ptr<Inbox> inbox)
    : roster_(std::move(roster)), rank_(rank), inbox_(std::move(inbox)) {}

absl::Status ExchangeCollective::Die(const absl::Status& status) {
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

void ExchangeCollective::Abort(const absl::Status& reason) {
  Die(reason.ok() ? Aborted("the collective was aborted") : absl::AbortedError(reason.message()))
      .IgnoreError();
}

absl::Status ExchangeCollective::Begin() {
  const absl::Status dead = inbox_->dead();
  return dead.ok() ? dead : Die(dead);
}

Part ExchangeCollective::MakePart(const char* operation, std::span<const std::byte> bytes) const {
  auto message = std::make_shared<v1::PeerMessage>();
  v1::PeerPart& part = *message->mutable_part();
  part.set_sequence(sequence_);
  part.set_operation(operation);
  part.set_data(bytes.data(), bytes.size());
  return message;
}

absl::Status ExchangeCollective::Receive(int from, const char* operation,
                                         std::span<std::byte> into) {
  absl::StatusOr<Part> taken = inbox_->Take(from);
  if (!taken.ok()) return Die(taken.status());
  const v1::PeerPart& part = (*taken)->part();
  if (part.sequence() != sequence_ || part.operation() != operation ||
      part.data().size() != into.size()) {
    return Die(
        Internal(fmt::format("members disagree about operation {}: this rank {} does {} with {} "
                             "bytes from {}, which sent {} number {} with {} bytes",
                             sequence_, rank_, operation, into.size(), MemberName(roster_, from),
                             part.operation(), part.sequence(), part.data().size())));
  }
  if (!into.empty()) std::memcpy(into.data(), part.data().data(), into.size());
  return absl::OkStatus();
}

absl::Status ExchangeCollective::Gather(const char* operation, std::span<const std::byte> send,
                                        std::span<const size_t> sizes,
                                        std::span<std::byte> receive) {
  const size_t total = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  if (sizes.size() != static_cast<size_t>(size()) || sizes[rank_] != send.size() ||
      total != receive.size()) {
    return Die(Internal(
        fmt::format("{} on rank {} of {}: {} sizes adding to {} bytes do not fit a send of {} and "
                    "a receive of {} bytes",
                    operation, rank_, size(), sizes.size(), total, send.size(), receive.size())));
  }
  RETURN_IF_ERROR(Begin());
  if (size() > 1) {
    const Part part = MakePart(operation, send);
    for (int r = 0; r < size(); ++r) {
      if (r != rank_) Send(r, part);
    }
  }
  size_t offset = 0;
  for (int r = 0; r < size(); ++r) {
    const std::span<std::byte> into = receive.subspan(offset, sizes[r]);
    offset += sizes[r];
    if (r != rank_) {
      RETURN_IF_ERROR(Receive(r, operation, into));
    } else if (!send.empty()) {
      std::memmove(into.data(), send.data(), send.size());
    }
  }
  ++sequence_;
  return absl::OkStatus();
}

absl::Status ExchangeCollective::AllGather(std::span<const std::byte> send,
                                           std::span<const size_t> sizes,
                                           std::span<std::byte> receive) {
  return Gather("allgather", send, sizes, receive);
}

absl::Status ExchangeCollective::AllReduceSum(std::span<float> values) {
  const size_t bytes = values.size_bytes();
  std::vector<float> all(values.size() * size());
  const std::vector<size_t> sizes(size(), bytes);
  RETURN_IF_ERROR(
      Gather("allreduce", std::as_bytes(values), sizes, std::as_writable_bytes(std::span(all))));
  for (size_t i = 0; i < values.size(); ++i) {
    float sum = all[i];
    for (int r = 1; r < size(); ++r) sum += all[r * values.size() + i];
    values[i] = sum;
  }
  return absl::OkStatus();
}

absl::Status ExchangeCollective::Broadcast(int root, std::span<std::byte> buffer) {
  if (root < 0 || root >= size()) {
    return Die(Internal(fmt::format("broadcast from rank {} in a team of {}", root, size())));
  }
  RETURN_IF_ERROR(Begin());
  if (rank_ != root) {
    RETURN_IF_ERROR(Receive(root, "broadcast", buffer));
  } else if (size() > 1) {
    const Part part = MakePart("broadcast", buffer);
    for (int r = 0; r < size(); ++r) {
      if (r == rank_) continue;
      // The root waits for nobody, so it looks itself whether someone left before it could have
      // this part.
      if (const absl::Status gone = inbox_->CheckSender(r); !gone.ok()) return Die(gone);
      Send(r, part);
    }
  }
  ++sequence_;
  return absl::OkStatus();
}

}  // namespace neolog::collective
