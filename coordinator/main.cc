#include <cstdio>

#include "common/base/log.h"
#include "coordinator/program.h"

int main(int argc, char** argv) {
  const neolog::coordinator::ParsedCommandLine parsed =
      neolog::coordinator::ParseCommandLine(argc, argv);
  if (!parsed.run) {
    std::fputs(parsed.print.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  neolog::InitLogging("neolog-coordinator", parsed.options.log_level, parsed.options.log_json);
  const absl::Status status = neolog::coordinator::RunCoordinator(parsed.options);
  if (status.ok()) return 0;
  spdlog::critical("{}", std::string(status.message()));
  return 1;
}
