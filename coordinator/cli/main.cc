// The program `neolog`: see app.h.
#include <csignal>

#include "common/base/clock.h"
#include "common/base/process.h"
#include "coordinator/cli/app.h"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  neolog::SystemClock clock;
  neolog::cli::Console console(neolog::cli::Console::FromProcess());
  neolog::cli::Context context;
  context.console = &console;
  context.clock = &clock;
  context.env = neolog::cli::ProcessEnv;
  context.self_path = neolog::SelfPath();
  return neolog::cli::RunApp(argc, argv, std::move(context));
}
