#include "common/base/status.h"

#include "absl/strings/str_cat.h"

namespace neolog {

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(ToAbsl(context), ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

absl::Status InvalidArgument(std::string_view m) { return absl::InvalidArgumentError(ToAbsl(m)); }
absl::Status NotFound(std::string_view m) { return absl::NotFoundError(ToAbsl(m)); }
absl::Status AlreadyExists(std::string_view m) { return absl::AlreadyExistsError(ToAbsl(m)); }
absl::Status FailedPrecondition(std::string_view m) {
  return absl::FailedPreconditionError(ToAbsl(m));
}
absl::Status Unavailable(std::string_view m) { return absl::UnavailableError(ToAbsl(m)); }
absl::Status DataLoss(std::string_view m) { return absl::DataLossError(ToAbsl(m)); }
absl::Status Internal(std::string_view m) { return absl::InternalError(ToAbsl(m)); }
absl::Status Aborted(std::string_view m) { return absl::AbortedError(ToAbsl(m)); }

}  // namespace neolog
