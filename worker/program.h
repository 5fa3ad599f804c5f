#pragma once

namespace neolog {

/// `neolog-worker run|replay|doctor|version`: parses the command line and does what it says.
/// Returns the exit code.
int RunWorkerProgram(int argc, char** argv);

}  // namespace neolog
