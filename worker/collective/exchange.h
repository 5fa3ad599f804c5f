#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "worker/collective/collective.h"
#include "worker/collective/link.h"

namespace neolog::collective {

/// The operations of Collective over a link that carries their bytes.
class ExchangeCollective : public Collective {
 public:
  explicit ExchangeCollective(std::unique_ptr<Link> link) : link_(std::move(link)) {}
  int rank() const override { return link_->rank(); }
  int size() const override { return link_->size(); }
  absl::Status AllGather(std::span<const std::byte> send, std::span<const size_t> sizes,
                         std::span<std::byte> receive) override;
  absl::Status AllReduceSum(std::span<float> values) override;
  absl::Status Broadcast(int root, std::span<std::byte> buffer) override;
  void Abort(const absl::Status& reason) override;

 private:
  Part MakePart(const char* operation, std::span<const std::byte> bytes) const;
  absl::Status Receive(int from, const char* operation, std::span<std::byte> into);
  absl::Status Gather(const char* operation, std::span<const std::byte> send,
                      std::span<const size_t> sizes, std::span<std::byte> receive);

  const std::unique_ptr<Link> link_;
  uint64_t sequence_ = 0;  // the operations' thread only
};

/// Collectives over the links of `links`, which must outlive them.
class ExchangeFactory : public CollectiveFactory {
 public:
  explicit ExchangeFactory(LinkFactory* links) : links_(links) {}
  absl::StatusOr<std::unique_ptr<Collective>> Create(const v1::Roster& roster,
                                                     const v1::WorkerIdentity& self) override;

 private:
  LinkFactory* const links_;
};

}  // namespace neolog::collective
