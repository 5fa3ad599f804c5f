#include "worker/collective/exchange.h"

#include <fmt/format.h>

#include <cstring>
#include <vector>

namespace neolog::collective {

absl::StatusOr<std::unique_ptr<Collective>> ExchangeFactory::Create(
    const v1::Roster& roster, const v1::WorkerIdentity& self) {
  ASSIGN_OR_RETURN(std::unique_ptr<Link> link, links_->Connect(roster, self));
  return std::make_unique<ExchangeCollective>(std::move(link));
}

void ExchangeCollective::Abort(const absl::Status& reason) { link_->Abort(reason); }

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
  absl::StatusOr<Part> taken = link_->inbox().Take(from);
  if (!taken.ok()) return link_->Die(taken.status());
  const v1::PeerPart& part = (*taken)->part();
  if (part.sequence() != sequence_ || part.operation() != operation ||
      part.data().size() != into.size()) {
    return link_->Die(Internal(
        fmt::format("members disagree about operation {}: this rank {} does {} with {} "
                    "bytes from {}, which sent {} number {} with {} bytes",
                    sequence_, rank(), operation, into.size(), MemberName(link_->roster(), from),
                    part.operation(), part.sequence(), part.data().size())));
  }
  if (!into.empty()) std::memcpy(into.data(), part.data().data(), into.size());
  return absl::OkStatus();
}

absl::Status ExchangeCollective::Gather(const char* operation, std::span<const std::byte> send,
                                        std::span<const size_t> sizes,
                                        std::span<std::byte> receive) {
  if (const absl::Status fits = CheckGather(*this, send, sizes, receive); !fits.ok())
    return link_->Die(fits);
  RETURN_IF_ERROR(link_->Check());
  if (size() > 1) link_->SendToAll(MakePart(operation, send));
  size_t offset = 0;
  for (int r = 0; r < size(); ++r) {
    const std::span<std::byte> into = receive.subspan(offset, sizes[r]);
    offset += sizes[r];
    if (r != rank()) {
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
  if (const absl::Status known = CheckRoot(*this, root); !known.ok()) return link_->Die(known);
  RETURN_IF_ERROR(link_->Check());
  if (rank() != root) {
    RETURN_IF_ERROR(Receive(root, "broadcast", buffer));
  } else if (size() > 1) {
    const Part part = MakePart("broadcast", buffer);
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      // The root waits for nobody, so it looks itself whether someone left before it could have
      // this part.
      if (const absl::Status gone = link_->inbox().CheckSender(r); !gone.ok())
        return link_->Die(gone);
      link_->Send(r, part);
    }
  }
  ++sequence_;
  return absl::OkStatus();
}

}  // namespace neolog::collective
