#include "tests/coordinator/cli/claim_folder.h"

#include "common/storage/posix_file_system.h"
#include "common/storage/run_directory.h"
#include "tests/support/status_matchers.h"

namespace neolog::cli::testing {

void ClaimFolder(const std::string& log_dir, const std::string& name, const std::string& run_id) {
  const auto fs = MakePosixFileSystem();
  ASSERT_OK(ClaimRunDirectory(*fs, RunDirectory(log_dir, name, name), run_id));
}

}  // namespace neolog::cli::testing
