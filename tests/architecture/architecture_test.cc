#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/architecture/rules.h"
#include "tests/support/paths.h"
#include "tests/support/scoped_dir.h"

namespace neolog::architecture {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The files of the real tree that rules look at.
Tree ReadTree() {
  namespace fs = std::filesystem;
  const fs::path root = neolog::testing::SourcePath("");
  static const std::set<std::string> kSkipped = {"build", "out", "__pycache__"};
  static const std::set<std::string> kRead = {".h",     ".cc",    ".cu", ".py",  ".sh",
                                              ".proto", ".cmake", ".md", ".txt", ".yaml"};
  Tree tree;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator();
       ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory()) {
      if (name[0] == '.' || kSkipped.count(name) > 0) it.disable_recursion_pending();
      continue;
    }
    const std::string relative = it->path().lexically_relative(root.lexically_normal()).string();
    const std::string extension = it->path().extension().string();
    if (extension == ".txt" && name != "CMakeLists.txt") continue;
    if (kRead.count(extension) > 0)
      tree[relative] = neolog::testing::ReadFileOrDie(it->path().string());
  }
  return tree;
}

/// A small tree without a violation.
Tree Good() {
  return {
      {"CMakeLists.txt", "add_subdirectory(common)\n"},
      {"common/base/README.md", "what it is"},
      {"common/base/CMakeLists.txt", "neolog_add_library(neolog_common_base SOURCES a.cc)\n"},
      {"common/base/a.h", "#pragma once\n#include <string>\n"},
      {"common/base/a.cc", "#include \"common/base/a.h\"\n"},
      {"common/rpc/README.md", "what it is"},
      {"common/rpc/CMakeLists.txt", "f(SOURCES channel.cc)\n"},
      {"common/rpc/channel.cc", "#include <grpcpp/grpcpp.h>\n#include \"common/base/a.h\"\n"},
      {"coordinator/grpc/README.md", "what it is"},
      {"coordinator/grpc/CMakeLists.txt", "f(SOURCES\n  x_grpc.cc)\n"},
      {"coordinator/grpc/x_grpc.cc", "#include \"neolog/v1/control.grpc.pb.h\"\n"},
      {"worker/train/README.md", "what it is"},
      {"worker/train/t.h", "#pragma once\n#include <ATen/ATen.h>\n"},
      {"worker/torch_support/cuda/README.md", "what it is"},
      {"worker/torch_support/cuda/c.h", "#pragma once\n#include <c10/cuda/CUDAStream.h>\n"},
      {"tests/common/base/CMakeLists.txt", "f(SOURCES a_test.cc)\n"},
      {"tests/common/base/a_test.cc", "#include <torch/torch.h>\n#include \"worker/train/t.h\"\n"},
  };
}

TEST(ArchitectureTest, GoodTree_HasNoViolations) { EXPECT_THAT(FindViolations(Good()), IsEmpty()); }

struct Planted {
  const char* name;
  const char* path;
  std::string content;
  const char* found;
};

class PlantedTest : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedTest, IsFound) {
  Tree tree = Good();
  tree[GetParam().path] = GetParam().content;
  EXPECT_THAT(FindViolations(tree), ElementsAre(HasSubstr(GetParam().found)));
}

constexpr char kOnce[] = "#pragma once\n";

INSTANTIATE_TEST_SUITE_P(
    All, PlantedTest,
    ::testing::Values(
        Planted{"CommonIncludesWorker", "common/base/b.h",
                std::string(kOnce) + "#include \"worker/train/t.h\"\n",
                "common/base/b.h:2: includes worker/train/t.h: common is below"},
        Planted{"CommonIncludesCoordinator", "common/base/b.h",
                std::string(kOnce) + "# include \"coordinator/grpc/x_grpc.h\"\n",
                "common is below"},
        Planted{"CoordinatorIncludesWorker", "coordinator/grpc/b.h",
                std::string(kOnce) + "#include \"worker/train/t.h\"\n", "meet only in proto"},
        Planted{"WorkerIncludesCoordinator", "worker/train/b.h",
                std::string(kOnce) + "#include \"coordinator/grpc/y.h\"\n", "meet only in proto"},
        Planted{"ProgramIncludesTests", "common/base/b.h",
                std::string(kOnce) + "#include \"tests/support/fake_clock.h\"\n",
                "do not include their tests"},
        Planted{"CoordinatorOpensPictures", "coordinator/grpc/b.h",
                std::string(kOnce) + "#include \"common/image/image.h\"\n", "opens no pictures"},
        Planted{"TorchInCommon", "common/base/b.h",
                std::string(kOnce) + "#include <torch/types.h>\n", "torch only in"},
        Planted{"GrpcInOtherFile", "coordinator/grpc/b.h",
                std::string(kOnce) + "#include <grpcpp/server.h>\n", "gRPC only in"},
        Planted{"GrpcStubInOtherFile", "common/base/b.h",
                std::string(kOnce) + "#include \"neolog/v1/blobs.grpc.pb.h\"\n", "gRPC only in"},
        Planted{"CudaInTrain", "worker/train/b.h",
                std::string(kOnce) + "#include <c10/cuda/CUDAGuard.h>\n", "NCCL and CUDA only in"},
        Planted{"NcclInTrain", "worker/train/b.h", std::string(kOnce) + "#include <nccl.h>\n",
                "NCCL and CUDA only in"},
        Planted{"HttpInGrpc", "coordinator/grpc/b.h",
                std::string(kOnce) + "#include <boost/beast.hpp>\n", "HTTP only in"},
        Planted{"TestNotBuilt", "tests/common/base/b_test.cc", "", "named in no CMakeLists.txt"},
        Planted{"SourceNotBuilt", "common/base/b.cc", "", "named in no CMakeLists.txt"},
        // "a.cc" is a part of "aa.cc" only by its letters.
        Planted{"NameWithinAName", "common/base/CMakeLists.txt", "f(SOURCES aa.cc)\n",
                "common/base/a.cc: named in no"},
        Planted{"FolderWithoutReadme", "common/new/b.h", kOnce, "common/new: no README.md"},
        Planted{"HeaderWithoutGuard", "common/base/b.h", "int b();\n", "no #pragma once"},
        Planted{"LongFile", "common/base/b.h", kOnce + std::string(600, '\n'), "601 lines"},
        Planted{"OpenWork", "common/base/b.h", kOnce + std::string("// TO") + "DO(me): later\n",
                "b.h:2: TO"},
        Planted{"Circle", "common/base/a.h",
                std::string(kOnce) + "#include \"common/rpc/channel.h\"\n",
                "in a circle: common/"}),
    [](const auto& info) { return info.param.name; });

TEST(ArchitectureTest, ThisTree_HasNoViolations) {
  const Tree tree = ReadTree();
  ASSERT_GT(tree.size(), 50u);  // the tree was found
  for (const std::string& violation : FindViolations(tree)) ADD_FAILURE() << violation;
}

}  // namespace
}  // namespace neolog::architecture
