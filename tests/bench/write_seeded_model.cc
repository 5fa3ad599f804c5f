// Writes a diffusers folder of SD 1.5's sizes (4.3 GB, float32) whose weights are made from a seed,
// for measuring where there is no model.
//
//   write_seeded_model FOLDER

#include <cstdio>
#include <filesystem>

#include "tests/worker/diffusion/seeded_model.h"

int main(int argc, char** argv) {
  if (argc != 2 || std::filesystem::exists(argv[1])) {
    std::fprintf(stderr, "usage: write_seeded_model FOLDER, which must not exist yet\n");
    return 2;
  }
  neolog::testing::WriteFullWidthModel(argv[1], /*seed=*/15);
  return 0;
}
