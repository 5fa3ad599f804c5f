#pragma once

#include <string>

namespace neolog::cli::testing {

/// Makes the folder of run `run_id` in `log_dir`, as the coordinator does; the test fails when it
/// cannot.
void ClaimFolder(const std::string& log_dir, const std::string& name, const std::string& run_id);

}  // namespace neolog::cli::testing
