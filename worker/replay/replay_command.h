#pragma once

namespace neolog::replay {

/// `neolog-worker replay --model PATH --in CASE --out RESULT [--vae PATH]
/// [--prediction epsilon|v_prediction] [--device cpu|cuda:N] [--dtype fp32|bf16|fp16]
/// [--attention matmul|flash] [--threads N]`: computes the case and writes the result, whole or not
/// at all.
///
/// `argv[0]` is the word "replay"; the arguments follow. Returns the exit code: 0; 2 for wrong
/// arguments, a case, model or device that cannot be used (one line on standard error names it); 1
/// for anything else, such as memory or the disk.
int RunReplayCommand(int argc, const char* const* argv);

}  // namespace neolog::replay
