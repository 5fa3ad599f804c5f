#pragma once

#include <memory>

#include "worker/collective/collective.h"

namespace neolog::collective {

/// Makes what a roster says that its members gather over (Roster.collective).
class ChosenFactory : public CollectiveFactory {
 public:
  /// Both must outlive it. `nccl` is null where this worker has none.
  ChosenFactory(CollectiveFactory* peer, CollectiveFactory* nccl) : peer_(peer), nccl_(nccl) {}
  /// FailedPrecondition for a roster that wants what this worker has not.
  absl::StatusOr<std::unique_ptr<Collective>> Create(const v1::Roster& roster,
                                                     const v1::WorkerIdentity& self) override;

 private:
  CollectiveFactory* const peer_;
  CollectiveFactory* const nccl_;
};

}  // namespace neolog::collective
