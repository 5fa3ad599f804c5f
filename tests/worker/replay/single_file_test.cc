// A model as a folder, as a safetensors file and as a checkpoint of torch, new and old: the same
// bits.

#include <filesystem>

#include "tests/common/checkpoint/model_files.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "tests/worker/replay/run_replay.h"

namespace neolog::replay {
namespace {

using ::neolog::testing::OriginalLayout;
using ::neolog::testing::Replayed;
using ::neolog::testing::RunReplay;
using ::neolog::testing::ScopedDir;
using ::neolog::testing::SourcePath;

struct Family {
  const char* name;
  ModelFamily family;
  std::vector<std::string> more;
};

class SingleFile : public ::testing::TestWithParam<Family> {};

TEST_P(SingleFile, GivesTheFoldersBits) {
  const ScopedDir dir;
  const std::string golden = SourcePath(std::string("tests/golden/") + GetParam().name);
  testing::WriteSeededModel(golden + "/model", dir.File("folder"));
  const auto tensors = OriginalLayout(GetParam().family, testing::ReadModel(dir.File("folder")));
  testing::WriteTensors(tensors, dir.File("m.safetensors"));
  testing::WriteTorchFile(tensors, dir.File("new.ckpt"), /*legacy=*/false);
  testing::WriteTorchFile(tensors, dir.File("old.ckpt"), /*legacy=*/true);
  for (const char* name : {"train", "sample_ddim", "vae_encode", "vae_decode"}) {
    const std::string in = golden + "/" + name + ".case.safetensors";
    ASSERT_TRUE(std::filesystem::exists(in)) << in;
    for (const char* dtype : {"fp32", "bf16"}) {
      const Replayed folder = RunReplay(dir.File("folder"), in, {"--dtype", dtype});
      ASSERT_EQ(folder.code, 0) << folder.errors;
      for (const char* file : {"m.safetensors", "new.ckpt", "old.ckpt"}) {
        SCOPED_TRACE(std::string(name) + " " + dtype + " " + file);
        const Replayed single = RunReplay(dir.File(file), in, {"--dtype", dtype});
        ASSERT_EQ(single.code, 0) << single.errors;
        ASSERT_EQ(single.tensors.size(), folder.tensors.size());
        for (const auto& [key, tensor] : folder.tensors)
          EXPECT_TRUE(single.tensors.at(key).equal(tensor)) << key;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Narrow, SingleFile,
                         ::testing::Values(Family{"narrow_sd2", ModelFamily::kSd2, {}},
                                           Family{"narrow_sdxl", ModelFamily::kSdxl, {}}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace neolog::replay
