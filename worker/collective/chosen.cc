#include "worker/collective/chosen.h"

#include <fmt/format.h>

namespace neolog::collective {

absl::StatusOr<std::unique_ptr<Collective>> ChosenFactory::Create(const v1::Roster& roster,
                                                                  const v1::WorkerIdentity& self) {
  if (roster.collective().empty() || roster.collective() == "peer")
    return peer_->Create(roster, self);
  if (roster.collective() == "nccl" && nccl_ != nullptr) return nccl_->Create(roster, self);
  return FailedPrecondition(
      fmt::format("roster {} gathers over '{}', which worker {} does not have", roster.version(),
                  roster.collective(), self.worker_id()));
}

}  // namespace neolog::collective
