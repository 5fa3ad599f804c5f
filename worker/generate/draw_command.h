#pragma once

namespace neolog::generate {

/// `neolog-worker draw --model PATH --prompts-file FILE --out DIR [--embedding FILE] [--word NAME]
/// [--negative TEXT] [--long-prompts truncate|chunk] [--emphasis none|a1111]
/// [--seed N] [--sampler NAME] [--steps N] [--cfg X] [--size PIXELS] [--threads N] [--vae PATH]
/// [--prediction epsilon|v_prediction] [--device cpu|cuda:N] [--dtype fp32|bf16|fp16]`: draws every
/// line of the prompts file that is not blank, the n-th (from 0) with seed + n, as DIR/0000.png,
/// DIR/0001.png, …, and last writes DIR/pictures.json: a list of {"file", "prompt", "seed"} in that
/// order. The embedding's word is its own name unless --word gives another.
///
/// `argv[0]` is the word "draw"; the arguments follow. Returns the exit code: 0; 2 for wrong
/// arguments or files that cannot be used (one line on standard error names them); 1 for anything
/// else.
int RunDrawCommand(int argc, const char* const* argv);

}  // namespace neolog::generate
