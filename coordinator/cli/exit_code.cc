#include "coordinator/cli/exit_code.h"

#include <algorithm>

namespace neolog::cli {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange: return kExitUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: return kExitUnreachable;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition: return kExitWrongState;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated: return kExitPermission;
    case absl::StatusCode::kCancelled: return kExitInterrupted;
    default: return kExitUnexpected;
  }
}

ExitCode ExitCodeOf(v1::RunState state) {
  switch (state) {
    case v1::RUN_STATE_FAILED:
    case v1::RUN_STATE_STOPPED: return kExitRunFailed;
    case v1::RUN_STATE_PAUSED: return kExitTryAgain;
    default: return kExitOk;
  }
}

bool IsAtRest(v1::RunState state) {
  return state == v1::RUN_STATE_PAUSED || state == v1::RUN_STATE_STOPPED ||
         state == v1::RUN_STATE_COMPLETED || state == v1::RUN_STATE_FAILED;
}

std::string StateName(v1::RunState state) {
  constexpr std::string_view kPrefix = "RUN_STATE_";
  std::string name = v1::RunState_Name(state);
  if (name.rfind(kPrefix, 0) == 0) name.erase(0, kPrefix.size());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return name.empty() ? "unknown" : name;
}

}  // namespace neolog::cli
