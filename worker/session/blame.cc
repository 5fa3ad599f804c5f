#include "worker/session/blame.h"

#include "absl/strings/cord.h"
#include "worker/session/decisions.h"

namespace neolog::session {
namespace {

constexpr const char* kPayload = "neolog/run-at-fault";

}  // namespace

absl::Status BlameRun(const absl::Status& status, std::string_view run_id) {
  if (status.ok() || Classify(status) != Trouble::kBadInput) return status;
  absl::Status blamed = status;
  blamed.SetPayload(kPayload, absl::Cord(ToAbsl(run_id)));
  return blamed;
}

std::string BlamedRun(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace neolog::session
