#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"

// Who is at fault when a pack cannot be prepared: one of its runs, or this worker.
namespace neolog::session {

/// Marks an error as the fault of one run's inputs, so that only that run fails and its packmates
/// go on. Errors that are not about inputs (decisions.h: Classify) are this worker's own and come
/// back unmarked, and so does OK.
absl::Status BlameRun(const absl::Status& status, std::string_view run_id);

/// The id of the run that `status` was blamed on; empty when on none.
std::string BlamedRun(const absl::Status& status);

}  // namespace neolog::session
