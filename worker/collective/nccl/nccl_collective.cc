#include "worker/collective/nccl/nccl_collective.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "common/base/log.h"
#include "worker/collective/nccl/arrivals.h"
#include "worker/collective/nccl/flight_record.h"

namespace neolog::collective::nccl {
namespace {

using std::chrono::steady_clock;

// What is said over the link; everything else is an operation.
constexpr char kId[] = "nccl-id";
constexpr char kLeave[] = "leave";

Part MakePart(uint64_t sequence, const std::string& what, std::string data = {}) {
  auto message = std::make_shared<v1::PeerMessage>();
  message->mutable_part()->set_sequence(sequence);
  message->mutable_part()->set_operation(what);
  message->mutable_part()->set_data(std::move(data));
  return message;
}

class NcclCollective : public Collective {
 public:
  NcclCollective(std::shared_ptr<const Libraries> libraries, const NcclOptions& options,
                 std::unique_ptr<Link> link)
      : libraries_(std::move(libraries)),
        options_(options),
        link_(std::move(link)),
        arrivals_(link_->roster(), link_->rank()),
        left_(link_->size()) {}

  ~NcclCollective() override {
    if (communicator() != nullptr && link_->Check().ok()) Leave();
  }

  int rank() const override { return link_->rank(); }
  int size() const override { return link_->size(); }

  absl::Status AllGather(std::span<const std::byte> send, std::span<const size_t> sizes,
                         std::span<std::byte> receive) override;
  absl::Status AllReduceSum(std::span<float> values) override;
  absl::Status Broadcast(int root, std::span<std::byte> buffer) override;
  void Abort(const absl::Status& reason) override;

 private:
  absl::Status Perform(const std::string& what, const Operation& operation);
  absl::Status Join(const UniqueId* mine);
  absl::Status Fail(const absl::Status& status);
  void Leave();
  absl::Status Watch();
  absl::Status CannotConnect() const;
  absl::Status HearEveryone();
  absl::Status HearLocked(int from) REQUIRES(mutex_);
  absl::Status TakeInLocked(int from, const v1::PeerPart& said) REQUIRES(mutex_);
  void ReportStallLocked(steady_clock::time_point now) REQUIRES(mutex_);
  std::shared_ptr<Communicator> communicator() {
    MutexLock lock(mutex_);
    return communicator_;
  }

  const std::shared_ptr<const Libraries> libraries_;
  const NcclOptions options_;
  const std::unique_ptr<Link> link_;
  std::atomic<bool> joined_{false};  // set on the operations' thread
  std::vector<std::byte> sent_;      // likewise: a send of its own length, as long as the longest
  std::vector<std::byte> taken_;     // likewise: what came of sends as long as the longest

  Mutex mutex_;
  Arrivals arrivals_ GUARDED_BY(mutex_);
  std::vector<bool> left_ GUARDED_BY(mutex_);  // by rank: said so
  FlightRecord record_ GUARDED_BY(mutex_);
  steady_clock::time_point begun_ GUARDED_BY(mutex_);                     // the present operation
  std::optional<steady_clock::time_point> all_begun_ GUARDED_BY(mutex_);  // likewise, by every rank
  bool stall_reported_ GUARDED_BY(mutex_) = false;
  /// Last: its thread uses the members above. Shared with Abort, which may come while it is made.
  std::shared_ptr<Communicator> communicator_ GUARDED_BY(mutex_);
};

absl::Status NcclCollective::AllGather(std::span<const std::byte> send,
                                       std::span<const size_t> sizes,
                                       std::span<std::byte> receive) {
  if (const absl::Status fits = CheckGather(*this, send, sizes, receive); !fits.ok())
    return Fail(fits);
  const std::string what = fmt::format("allgather {}", fmt::join(sizes, " "));
  // NCCL's ranks send equally much, and something.
  const size_t longest = std::max<size_t>(*std::max_element(sizes.begin(), sizes.end()), 1);
  if (receive.size() == longest * sizes.size())
    return Perform(what, {.kind = Operation::Kind::kAllGather, .send = send, .receive = receive});
  sent_.assign(longest, std::byte{});
  std::copy(send.begin(), send.end(), sent_.begin());
  taken_.resize(longest * sizes.size());
  RETURN_IF_ERROR(
      Perform(what, {.kind = Operation::Kind::kAllGather, .send = sent_, .receive = taken_}));
  auto to = receive.begin();
  for (size_t r = 0; r < sizes.size(); ++r)
    to = std::copy_n(taken_.begin() + static_cast<ptrdiff_t>(r * longest), sizes[r], to);
  return absl::OkStatus();
}

absl::Status NcclCollective::AllReduceSum(std::span<float> values) {
  const std::string what = fmt::format("allreduce {}", values.size());
  if (values.empty()) {
    float nothing = 0;
    const auto bytes = std::as_writable_bytes(std::span(&nothing, 1));
    return Perform(what, {.kind = Operation::Kind::kAllReduceSum, .send = bytes, .receive = bytes});
  }
  return Perform(what, {.kind = Operation::Kind::kAllReduceSum,
                        .send = std::as_bytes(values),
                        .receive = std::as_writable_bytes(values)});
}

absl::Status NcclCollective::Broadcast(int root, std::span<std::byte> buffer) {
  if (const absl::Status known = CheckRoot(*this, root); !known.ok()) return Fail(known);
  const std::string what = fmt::format("broadcast {} from {}", buffer.size(), root);
  std::byte nothing{};
  const std::span<std::byte> bytes = buffer.empty() ? std::span(&nothing, 1) : buffer;
  return Perform(
      what, {.kind = Operation::Kind::kBroadcast, .root = root, .send = bytes, .receive = bytes});
}

absl::Status NcclCollective::Perform(const std::string& what, const Operation& operation) {
  RETURN_IF_ERROR(link_->Check());
  if (size() == 1) {
    if (operation.send.data() != operation.receive.data())
      std::memcpy(operation.receive.data(), operation.send.data(), operation.send.size());
    return absl::OkStatus();
  }
  std::optional<UniqueId> id;
  if (!joined_) {
    auto made = std::make_shared<Communicator>(libraries_, options_.communicator,
                                               [this] { return Watch(); });
    {
      MutexLock lock(mutex_);
      communicator_ = made;
    }
    // An Abort until here has not seen the communicator.
    RETURN_IF_ERROR(link_->Check());
    if (rank() == 0) {
      auto drawn = made->MakeId();
      if (!drawn.ok()) return Fail(drawn.status());
      id = *drawn;
      link_->SendToAll(MakePart(0, kId, std::string(id->bytes, sizeof(id->bytes))));
    }
  }
  uint64_t sequence = 0;
  absl::Status status;
  {
    MutexLock lock(mutex_);
    sequence = arrivals_.begun();
    begun_ = steady_clock::now();
    all_begun_.reset();
    stall_reported_ = false;
    record_.Begin(sequence, what, begun_);
    status = arrivals_.BeginMine(what);
  }
  link_->SendToAll(MakePart(sequence, what));
  if (status.ok() && !joined_) status = Join(id.has_value() ? &*id : nullptr);
  if (status.ok()) status = communicator()->Run(operation);
  if (status.ok()) status = HearEveryone();
  {
    MutexLock lock(mutex_);
    record_.End(status, steady_clock::now());
  }
  return status.ok() ? status : Fail(status);
}

/// Meets the others in the communicator; `mine` is the id where this rank made it.
absl::Status NcclCollective::Join(const UniqueId* mine) {
  UniqueId id;
  if (mine != nullptr) {
    id = *mine;
  } else {
    ASSIGN_OR_RETURN(const Part part, link_->inbox().Take(0));
    const std::string& data = part->part().data();
    if (part->part().operation() != kId || data.size() != sizeof(id.bytes)) {
      return Internal(
          fmt::format("members disagree about how they exchange: {} sent {} of {} bytes "
                      "for an id of NCCL",
                      MemberName(link_->roster(), 0), part->part().operation(), data.size()));
    }
    std::memcpy(id.bytes, data.data(), data.size());
  }
  RETURN_IF_ERROR(communicator()->Init(id, rank(), size()));
  joined_ = true;
  return absl::OkStatus();
}

/// The first reason for the end, which the peers are told.
absl::Status NcclCollective::Fail(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kUnavailable && LostRank(status) < 0) {
    // NCCL names nobody. The link does, for a peer that is gone.
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      const auto deadline = steady_clock::now() + options_.blame_limit / size();
      while (link_->Check().ok() && steady_clock::now() < deadline) {
        const auto part = link_->inbox().TakeUntil(r, deadline);
        if (!part.ok()) return link_->Die(part.status());
      }
    }
  }
  absl::Status dead = link_->Check();
  if (dead.ok()) {
    // What failed only here is the loss of this member, here too.
    const bool here = status.code() == absl::StatusCode::kUnknown;
    dead = link_->Die(here ? LostPeer(link_->roster(), rank(),
                                      fmt::format("cannot go on: {}", ToStd(status.message())))
                           : status);
    MutexLock lock(mutex_);
    spdlog::error("{}; the last operations of roster {}:\n{}", ToStd(dead.message()),
                  link_->roster().version(), record_.Dump(steady_clock::now()));
  }
  return dead;
}

void NcclCollective::Abort(const absl::Status& reason) {
  link_->Abort(reason);
  if (const auto made = communicator(); made != nullptr) made->Abort(link_->Check());
}

/// What a peer still reads of this process's memory or asks of it must stay until it has read it.
void NcclCollective::Leave() {
  link_->SendToAll(MakePart(0, kLeave));
  const auto deadline = steady_clock::now() + options_.leave_limit;
  MutexLock lock(mutex_);
  for (int r = 0; r < size(); ++r) {
    while (r != rank() && !left_[r]) {
      const auto part = link_->inbox().TakeUntil(r, deadline);
      if (!part.ok() || *part == nullptr) break;
      left_[r] = (*part)->part().operation() == kLeave;
    }
  }
}

/// On the communicator's thread, while something is under way.
absl::Status NcclCollective::Watch() {
  RETURN_IF_ERROR(link_->Check());
  MutexLock lock(mutex_);
  for (int r = 0; r < size(); ++r) {
    if (r != rank()) RETURN_IF_ERROR(HearLocked(r));
  }
  const auto now = steady_clock::now();
  if (!stall_reported_ && now - begun_ > options_.stall_limit) ReportStallLocked(now);
  if (!all_begun_.has_value() && arrivals_.Missing().empty()) all_begun_ = now;
  if (!all_begun_.has_value() || now - *all_begun_ <= options_.hang_limit) return absl::OkStatus();
  if (!joined_) return CannotConnect();
  return absl::UnknownError(
      fmt::format("every rank has begun operation {}, and NCCL has not ended it for {} ms",
                  arrivals_.begun() - 1, options_.hang_limit.count()));
}

/// NCCL makes connections of its own, and does not say which of them it cannot make.
absl::Status NcclCollective::CannotConnect() const {
  std::vector<std::string> members;
  for (int r = 0; r < size(); ++r) {
    members.push_back(fmt::format("{} at {}", link_->roster().members(r).worker().worker_id(),
                                  link_->roster().members(r).peer_address()));
  }
  const char* interface = std::getenv("NCCL_SOCKET_IFNAME");
  return absl::UnknownError(fmt::format(
      "NCCL has not connected {} for {} ms, though their own streams work: set "
      "NCCL_SOCKET_IFNAME on every host to the interface by which these hosts reach each other (it "
      "is {} here; NCCL_DEBUG=INFO tells which ones NCCL tries), or start the workers with "
      "--collective peer",
      fmt::join(members, " and "), options_.hang_limit.count(),
      interface == nullptr ? "not set" : fmt::format("'{}'", interface)));
}

/// Takes what `from` has said meanwhile.
absl::Status NcclCollective::HearLocked(int from) {
  for (;;) {
    const auto part = link_->inbox().TakeUntil(from, steady_clock::time_point::min());
    // Gone in good order: that only matters to an operation which it has not begun.
    if (!part.ok()) return arrivals_.HasArrived(from) ? link_->inbox().dead() : part.status();
    if (*part == nullptr) return absl::OkStatus();
    RETURN_IF_ERROR(TakeInLocked(from, (*part)->part()));
  }
}

absl::Status NcclCollective::TakeInLocked(int from, const v1::PeerPart& said) {
  if (said.operation() != kLeave)
    return arrivals_.Announced(from, said.sequence(), said.operation());
  left_[from] = true;
  return absl::OkStatus();
}

/// NCCL may be quicker than the link, and what it brought is only good when every rank did the
/// same.
absl::Status NcclCollective::HearEveryone() {
  for (;;) {
    int from = 0;
    {
      MutexLock lock(mutex_);
      const std::vector<int> missing = arrivals_.Missing();
      if (missing.empty()) return absl::OkStatus();
      from = missing.front();
    }
    ASSIGN_OR_RETURN(const Part part, link_->inbox().Take(from));
    MutexLock lock(mutex_);
    RETURN_IF_ERROR(TakeInLocked(from, part->part()));
  }
}

void NcclCollective::ReportStallLocked(steady_clock::time_point now) {
  stall_reported_ = true;
  std::vector<std::string> missing;
  for (const int r : arrivals_.Missing()) missing.push_back(MemberName(link_->roster(), r));
  spdlog::warn("operation {} of roster {} has waited for {} s; {}; the last operations:\n{}",
               arrivals_.begun() - 1, link_->roster().version(),
               std::chrono::duration_cast<std::chrono::seconds>(now - begun_).count(),
               missing.empty() ? "every rank has begun it"
                               : fmt::format("not begun by {}", fmt::join(missing, ", ")),
               record_.Dump(now));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> NcclFactory::Create(const v1::Roster& roster,
                                                                const v1::WorkerIdentity& self) {
  ASSIGN_OR_RETURN(std::unique_ptr<Link> link, links_->Connect(roster, self));
  return std::make_unique<NcclCollective>(libraries_, options_, std::move(link));
}

}  // namespace neolog::collective::nccl
